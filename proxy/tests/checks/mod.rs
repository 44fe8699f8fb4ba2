//! What must hold for any input at all. The property tests and the fuzz targets ask the same questions; only where the input comes from differs.

pub(crate) mod detector;
pub(crate) mod framing;
pub(crate) mod header;
pub(crate) mod tee;
