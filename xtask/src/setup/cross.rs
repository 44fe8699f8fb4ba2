//! A C compiler and a static libc for another architecture: the binary's allocator is C, and its linker is that compiler.

use std::path::Path;

use anyhow::Result;

use crate::setup::packages;

/// The C compiler of a GNU target (`aarch64-linux-gnu`), installed with its libc if need be; `debian` is Debian's name of the architecture.
pub(crate) fn c_compiler(gnu: &str, debian: &str) -> Result<String> {
    let program = format!("{gnu}-gcc");
    let package = format!("gcc-{gnu}");
    let mut missing = packages::missing(&[(&program, &package)]);
    // Debian's compiler only recommends it. Where there is no apt, the compiler's own package is to bring it.
    if packages::has_apt() && !Path::new("/usr").join(gnu).join("lib/libc.a").exists() {
        missing.push(format!("libc6-dev-{debian}-cross"));
    }
    packages::ensure(&missing, &format!("a binary for {debian}"))?;
    Ok(program)
}
