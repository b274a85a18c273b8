#!/bin/sh
# Loads each object with `bpftool prog loadall`, pinned in a bpffs of its own, and says which the
# kernel takes. Exit 1 if it refuses one. Needs root.
#
#   tests/scripts/bpftool.sh OBJECT...
set -eu
pins=$(mktemp -d)
mount -t bpf none "$pins"
trap 'umount "$pins" && rmdir "$pins"' EXIT

refused=0
for object; do
	if message=$(bpftool prog loadall "$object" "$pins/programs" 2>&1); then
		echo "loaded   $object ($(ls "$pins/programs" | wc -l) programs)"
	else
		refused=$((refused + 1))
		echo "refused  $object"
		echo "$message" | sed 's/^/         /'
	fi
	rm -rf "$pins/programs"
done
[ "$refused" -eq 0 ]
