//! What the chores need of the machine: found out, said, installed.
//!
//! Nothing is remembered between runs but what lies there: a second run looks at a few files and goes on.

use anyhow::Result;

mod linker;
mod packages;
mod python;
mod toolchain;

pub(crate) use linker::tools_bin;
pub(crate) use python::venv;
pub(crate) use toolchain::Toolchain;

/// What building the BPF object needs: a compiler with core's source, and bpf-linker.
pub(crate) fn ebpf() -> Result<Toolchain> {
    let toolchain = toolchain::ensure()?;
    linker::ensure(&toolchain)?;
    Ok(toolchain)
}

/// What the toy world needs: network tools, curl, httpbin under gunicorn.
pub(crate) fn lab() -> Result<()> {
    packages::ensure(&packages::missing_programs(), "the toy world")?;
    python::ensure()
}
