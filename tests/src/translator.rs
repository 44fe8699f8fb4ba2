//! Somebody else's program at the cgroup root: a `connect4` hook that turns one service address into an endpoint, as the socket load
//! balancers of other networks do. Assembled here, because its own object file would need a second BPF build.

use std::{fs::File, net::SocketAddrV4};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSockAddr},
};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

use crate::cgroups;

const NAME: &str = "translate";

/// The attached program; detached when dropped.
#[derive(Debug)]
pub struct Translator {
    _object: Ebpf,
}

impl Translator {
    /// From now on every IPv4 connect on this machine to `service` goes to `endpoint`. Take an address that no other world has.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(service: SocketAddrV4, endpoint: SocketAddrV4) -> Result<Self> {
        let mut object = Ebpf::load(&object(&program(service, endpoint))?).context("the translator does not load")?;
        let program: &mut CgroupSockAddr = object.program_mut(NAME).context("no program in the object")?.try_into()?;
        program.load()?;
        program.attach(File::open(cgroups::root()?)?, CgroupAttachMode::Single)?;
        Ok(Self { _object: object })
    }
}

/// One instruction (include/uapi/linux/bpf.h, `struct bpf_insn`).
fn insn(code: u8, dst: u8, src: u8, offset: i16, imm: u32) -> [u8; 8] {
    let (offset, imm) = (offset.to_ne_bytes(), imm.to_ne_bytes());
    [code, dst | (src << 4), offset[0], offset[1], imm[0], imm[1], imm[2], imm[3]]
}

/// `if user_ip4 == service.ip && user_port == service.port { user_ip4 = endpoint.ip; user_port = endpoint.port } return 1`
fn program(service: SocketAddrV4, endpoint: SocketAddrV4) -> Vec<u8> {
    // Fields of `struct bpf_sock_addr`, both in network byte order.
    const USER_IP4: i16 = 4;
    const USER_PORT: i16 = 24;
    const LOAD_WORD: u8 = 0x61;
    const STORE_WORD: u8 = 0x63;
    const MOVE_IMM: u8 = 0xb4;
    const JUMP_UNLESS_EQUAL_IMM: u8 = 0x56;
    const EXIT: u8 = 0x95;
    let ip = |address: SocketAddrV4| u32::from_ne_bytes(address.ip().octets());
    let port = |address: SocketAddrV4| u32::from(address.port().to_be());
    [
        insn(LOAD_WORD, 2, 1, USER_IP4, 0),
        insn(JUMP_UNLESS_EQUAL_IMM, 2, 0, 6, ip(service)),
        insn(LOAD_WORD, 2, 1, USER_PORT, 0),
        insn(JUMP_UNLESS_EQUAL_IMM, 2, 0, 4, port(service)),
        insn(MOVE_IMM, 2, 0, 0, ip(endpoint)),
        insn(STORE_WORD, 1, 2, USER_IP4, 0),
        insn(MOVE_IMM, 2, 0, 0, port(endpoint)),
        insn(STORE_WORD, 1, 2, USER_PORT, 0),
        insn(MOVE_IMM, 0, 0, 0, 1),
        insn(EXIT, 0, 0, 0, 0),
    ]
    .concat()
}

fn object(code: &[u8]) -> Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::default());
    let section = object.add_section(Vec::new(), b"cgroup/connect4".to_vec(), SectionKind::Text);
    object.append_section_data(section, code, 8);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    object.add_symbol(Symbol {
        name: NAME.as_bytes().to_vec(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    Ok(object.write()?)
}
