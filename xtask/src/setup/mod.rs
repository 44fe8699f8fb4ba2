//! What the chores need of the machine: found out, said, installed.
//!
//! Nothing is remembered between runs but what lies there: a second run looks at a few files and goes on.

use anyhow::Result;

mod cross;
mod golang;
mod istio;
mod linker;
mod nginx;
mod packages;
mod python;
mod rivals;
mod toolchain;

pub(crate) use cross::c_compiler;
pub(crate) use istio::definitions as istio_definitions;
pub(crate) use linker::tools_bin;
pub(crate) use python::venv;
pub(crate) use toolchain::Toolchain;

/// What building needs: for the BPF object a compiler with core's source, and bpf-linker.
pub(crate) fn ebpf() -> Result<Toolchain> {
    packages::ensure(&packages::missing(packages::BUILD), "the allocator")?;
    let toolchain = toolchain::ensure()?;
    linker::ensure(&toolchain)?;
    Ok(toolchain)
}

/// What the toy world needs: network tools, curl, httpbin under gunicorn and other parts in Python.
pub(crate) fn lab() -> Result<()> {
    packages::ensure(&packages::missing(packages::WORLD), "the toy world")?;
    python::ensure()
}

/// What counts instructions, and the network tools for the namespace that it happens in.
pub(crate) fn counting() -> Result<()> {
    packages::ensure(&packages::missing(packages::COUNTING), "counting instructions")
}

/// What the benchmark runs beside us. Only its servers must be there.
pub(crate) fn rivals() -> Result<()> {
    rivals::ensure()
}

/// The programs of others that the conformance tests speak with; those of Python come with [`lab`].
pub(crate) fn peers() -> Result<()> {
    packages::ensure(&packages::missing(packages::PEERS), "the conformance tests")?;
    nginx::ensure()?;
    golang::peer()?;
    istio_definitions();
    golang::renderer()
}
