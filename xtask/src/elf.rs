//! What of an ELF file is read here (System V ABI, chapter 4): 64 bits, little endian.

use anyhow::{Context as _, Result, ensure};

/// How such a file begins.
pub(crate) const MAGIC: &[u8] = b"\x7fELF\x02\x01";
/// Bytes of a section's header.
pub(crate) const HEADER: usize = 64;
/// The type of a section with symbols that a loader does not need.
const SYMTAB: usize = 2;

/// Whether it has symbols that a loader does not need.
///
/// # Errors
/// If it is no such file, or is cut off.
pub(crate) fn has_symbols(file: &[u8]) -> Result<bool> {
    ensure!(file.starts_with(MAGIC), "not an ELF file of 64 bits, little endian");
    let (table, count) = (number(file, 40, 8)?, number(file, 60, 2)?);
    let headers = slice(file, table, count * HEADER)?;
    let kinds: Result<Vec<_>> = headers.chunks(HEADER).map(|header| number(header, 4, 4)).collect();
    Ok(kinds?.contains(&SYMTAB))
}

/// A part of it.
pub(crate) fn slice(bytes: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    at.checked_add(length).and_then(|end| bytes.get(at..end)).context("the ELF file is cut off")
}

/// A number of so many bytes, at most eight.
pub(crate) fn number(bytes: &[u8], at: usize, length: usize) -> Result<usize> {
    let mut number = [0; 8];
    number[..length].copy_from_slice(slice(bytes, at, length)?);
    Ok(usize::from_le_bytes(number))
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;

    /// A test's own program has symbols: rustc strips none.
    #[test]
    fn symbols_are_found() {
        let mut file = fs::read(env::current_exe().unwrap()).unwrap();
        assert!(has_symbols(&file).unwrap());
        file[60..62].fill(0);
        assert!(!has_symbols(&file).unwrap(), "no section at all");
        assert!(has_symbols(MAGIC).is_err(), "half a header");
        assert!(has_symbols(&[b'x'; 100]).is_err());
    }
}
