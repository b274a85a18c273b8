//! What programs left in array maps, globals (`.data`, `.bss`) included.

use std::collections::BTreeMap;
use std::error::Error;

use aya::maps::{Array, Map, MapData, PerCpuArray};
use aya::{Ebpf, Pod};

/// The contents of every array map, by name; of per-CPU ones, the sum over the CPUs.
pub(super) fn contents(ebpf: &Ebpf) -> Result<BTreeMap<String, Vec<u8>>, Box<dyn Error>> {
    let mut all = BTreeMap::new();
    for (name, map) in ebpf.maps() {
        let bytes = match map {
            Map::Array(data) => array(map, data)?,
            Map::PerCpuArray(_) => per_cpu(map)?,
            _ => continue,
        };
        all.insert(name.to_owned(), bytes);
    }
    Ok(all)
}

/// `aya` reads values of a size known to the compiler; these are the sizes that our objects have.
fn array(map: &Map, data: &MapData) -> Result<Vec<u8>, Box<dyn Error>> {
    macro_rules! by_size {
        ($($size:literal)*) => {
            match data.info()?.value_size() {
                $($size => sized::<$size>(map),)*
                size => Err(format!("add {size} to the sizes of map values").into()),
            }
        };
    }
    by_size!(4 8 12 16 20 24 28 32 36 40 44 48 52 56 60 64 68 72)
}

fn sized<const SIZE: usize>(map: &Map) -> Result<Vec<u8>, Box<dyn Error>>
where
    [u8; SIZE]: Pod,
{
    let array: Array<_, [u8; SIZE]> = Array::try_from(map)?;
    let values: Result<Vec<_>, _> = array.iter().collect();
    Ok(values?.concat())
}

fn per_cpu(map: &Map) -> Result<Vec<u8>, Box<dyn Error>> {
    let array: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
    let mut bytes = Vec::new();
    for values in array.iter() {
        let sum = values?.iter().fold(0_u64, |sum, value| sum.wrapping_add(*value));
        bytes.extend(sum.to_le_bytes());
    }
    Ok(bytes)
}
