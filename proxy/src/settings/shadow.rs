//! Shadows that no policy speaks of, and the memory that all of them may take.

use super::SettingsError;
use crate::{
    cli::ShadowArgs,
    route::{HeaderOps, ShadowSettings},
};

/// What a mirror gets by default.
pub(super) fn by_default(arguments: ShadowArgs) -> Result<ShadowSettings, SettingsError> {
    let (one, all) = (arguments.shadow_buffer_bytes, arguments.shadow_node_buffer_bytes);
    if one > all {
        return Err(SettingsError::Buffers { one, all });
    }
    Ok(ShadowSettings {
        host_suffix: arguments.shadow_host_suffix.into(),
        timeout: arguments.shadow_timeout,
        max_concurrent: arguments.shadow_max_concurrent,
        buffer_bytes: one,
        methods: arguments.shadow_methods,
        headers: HeaderOps { remove: arguments.shadow_remove_headers.0, ..HeaderOps::default() },
        sampling: arguments.shadow_sampling,
        dscp: arguments.shadow_dscp,
    })
}
