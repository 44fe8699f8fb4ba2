//! The BPF object without what only a debugger reads: seven times smaller, and the proxy carries it in its binary.
//!
//! Comes in: an ELF file for relocation, 64 bits, little endian. Goes out: the same without the contents of its debug sections. Never: a change
//! of what the kernel or aya read (programs, maps, BTF, symbols, relocations).
//!
//! BTF is made from debug information, so the linker has to see it, and there is no objcopy for BPF on every machine.

use anyhow::{Result, ensure};

use crate::elf::{HEADER, MAGIC, number, slice};

/// Empties the debug sections. They keep their numbers, so that whatever names a section by its number names the same one.
pub(crate) fn remove(object: &[u8]) -> Result<Vec<u8>> {
    ensure!(object.starts_with(MAGIC), "not an ELF file of 64 bits, little endian");
    let (table, count) = (number(object, 40, 8)?, number(object, 60, 2)?);
    ensure!(number(object, 56, 2)? == 0 && number(object, 58, 2)? == HEADER, "not an ELF file for relocation");
    let header = |index: usize| slice(object, table + index * HEADER, HEADER);
    let names = header(number(object, 62, 2)?)?;
    let names = slice(object, number(names, 24, 8)?, number(names, 32, 8)?)?;
    let mut stripped = slice(object, 0, HEADER)?.to_vec();
    let mut headers = Vec::with_capacity(count * HEADER);
    for index in 0..count {
        let mut header = header(index)?.to_vec();
        let name = names.get(number(&header, 0, 4)?..).unwrap_or_default();
        if name.starts_with(b".debug_") || name.starts_with(b".rel.debug_") {
            header.fill(0);
        } else {
            let alignment = number(&header, 48, 8)?.max(1);
            stripped.resize(stripped.len().next_multiple_of(alignment), 0);
            let (offset, size) = (number(&header, 24, 8)?, number(&header, 32, 8)?);
            header[24..32].copy_from_slice(&stripped.len().to_le_bytes());
            stripped.extend_from_slice(slice(object, offset, size)?);
        }
        headers.extend_from_slice(&header);
    }
    stripped.resize(stripped.len().next_multiple_of(8), 0);
    let table = stripped.len();
    stripped[40..48].copy_from_slice(&table.to_le_bytes());
    stripped.extend_from_slice(&headers);
    Ok(stripped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with sections of these names, each with its name as its content, and their names in the first.
    fn elf(sections: &[&str]) -> Vec<u8> {
        let mut names = vec![0];
        let mut file = vec![0; HEADER];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut headers = vec![0; HEADER];
        for name in sections {
            let mut header = [0; HEADER];
            header[..4].copy_from_slice(&(names.len() as u32).to_le_bytes());
            names.extend_from_slice(name.as_bytes());
            names.push(0);
            header[24..32].copy_from_slice(&file.len().to_le_bytes());
            header[32..40].copy_from_slice(&name.len().to_le_bytes());
            header[48] = 8;
            file.extend_from_slice(name.as_bytes());
            headers.extend_from_slice(&header);
        }
        headers[24..32].copy_from_slice(&file.len().to_le_bytes());
        headers[32..40].copy_from_slice(&names.len().to_le_bytes());
        file.extend_from_slice(&names);
        let table = file.len();
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[58] = HEADER as u8;
        file[60] = (sections.len() + 1) as u8;
        file.extend_from_slice(&headers);
        file
    }

    fn contents(file: &[u8]) -> Vec<String> {
        let table = number(file, 40, 8).unwrap();
        let section = |index: usize| {
            let header = &file[table + index * HEADER..][..HEADER];
            slice(file, number(header, 24, 8).unwrap(), number(header, 32, 8).unwrap()).unwrap()
        };
        (1..number(file, 60, 2).unwrap()).map(|index| String::from_utf8(section(index).to_vec()).unwrap()).collect()
    }

    /// Fails if a section that is read is lost, or another one gets its number.
    #[test]
    fn only_debug_sections_are_emptied() {
        let sections = ["text", ".debug_info", ".BTF", ".rel.debug_info", ".BTF.ext", ".rel.BTF", "debug", ".symtab"];
        let file = elf(&sections);
        assert_eq!(contents(&file), sections);
        let stripped = remove(&file).unwrap();
        assert_eq!(contents(&stripped), sections.map(|name| if name.contains(".debug_") { "" } else { name }));
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_an_error() {
        let file = elf(&["text", ".debug_info"]);
        for length in 0..file.len() {
            assert!(remove(&file[..length]).is_err(), "{length}");
        }
        assert!(remove(&[b'x'; 1000]).is_err());
    }
}
