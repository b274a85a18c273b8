/* Packet headers, as far as the test programs read them. */
#pragma once
#include "bpf.h"

enum { ETH_VLAN = 0x8100, ETH_QINQ = 0x88a8, ETH_IPV4 = 0x0800, ETH_IPV6 = 0x86dd, ETH_ARP = 0x0806 };
enum { IP_ICMP = 1, IP_TCP = 6, IP_UDP = 17, IP_HOPOPTS = 0, IP_FRAGMENT = 44, IP_ICMP6 = 58 };

struct eth {
	u8 to[6], from[6];
	u16 proto;
} __attribute__((packed));

struct vlan {
	u16 tci;
	u16 proto;
};

struct ipv4 {
	u8 version_len;
	u8 tos;
	u16 len;
	u16 id;
	u16 frag;
	u8 ttl;
	u8 proto;
	u16 check;
	u32 from, to;
} __attribute__((packed));

struct ipv6 {
	u32 flow;
	u16 payload_len;
	u8 next;
	u8 hop_limit;
	u32 from[4], to[4];
} __attribute__((packed));

struct ports {
	u16 from, to;
};

struct tcp {
	u16 from, to;
	u32 seq, ack;
	u8 off;
	u8 flags;
	u16 window, check, urgent;
} __attribute__((packed));

/* A cursor over packet bytes that never passes `end`. */
struct walk {
	u8 *at, *end;
};

#define TAKE(walk, type)                                                          \
	({                                                                        \
		type *h_ = (void *)(walk)->at;                                    \
		(walk)->at + sizeof(type) > (walk)->end ? (type *)0               \
			: ((walk)->at += sizeof(type), h_);                       \
	})
