//! Addresses as text into `inet` and `cidr`.

use std::net::IpAddr;

use super::{Misfit, put};

/// The numbers that PostgreSQL gives to the families.
const V4: u8 = 2;
const V6: u8 = 3;

/// Appends an address with or without a prefix length; for `cidr` nothing may be set behind it.
pub(super) fn put_inet(out: &mut Vec<u8>, text: &str, is_cidr: bool) -> Result<(), Misfit> {
    let needed = Misfit::Type { needed: "a string with an IP address" };
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| needed)?;
    let (family, octets, bits) = match address {
        IpAddr::V4(address) => (V4, u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (V6, u128::from(address), 128),
    };
    let prefix = match prefix {
        None => bits,
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse::<u8>().ok().filter(|prefix| *prefix <= bits).ok_or(needed)?
        }
        Some(_) => return Err(needed),
    };
    let behind = octets.checked_shl(prefix.into()).unwrap_or(0);
    if is_cidr && behind != 0 {
        return Err(Misfit::Range { why: "bits are set behind the network's prefix" });
    }
    let len = bits / 8;
    let mut field = [0; 20];
    field[..4].copy_from_slice(&[family, prefix, u8::from(is_cidr), len]);
    field[4..].copy_from_slice(&octets.to_be_bytes());
    put(out, &field[..4 + usize::from(len)])
}
