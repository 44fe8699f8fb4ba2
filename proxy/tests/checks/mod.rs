//! What must hold for any input at all. The property tests and the fuzz targets ask the same questions; only where the input comes from differs.

pub mod detector;
pub mod header;
pub mod tee;
