//! Kernel → cgroup: every attach call of the project. All or nothing, always `Single`: aya attaches by link, links are multi-attach by
//! themselves, and the kernel refuses flags with them (EINVAL).

use std::path::Path;

use aya::{
    Ebpf,
    programs::{
        CgroupAttachMode, CgroupSockAddr, Program, ProgramError, SockOps,
        links::{FdLink, LinkError, PinnedLink},
    },
};

use super::{CaptureError, cgroup::CgroupRoot, chain, load::hint_for};

/// In this order: whatever the connect hooks rely on is there before them.
pub(super) const PROGRAMS: [&str; 7] =
    ["publish", "getpeername4", "getpeername6", "getsockname4", "getsockname6", "connect4", "connect6"];

/// Those that take connections.
const CONNECTS: [&str; 2] = ["connect4", "connect6"];

/// The attached programs. Dropping it detaches those that are not pinned, the connect hooks first.
#[derive(Debug, Default)]
pub(super) struct Attached {
    links: Vec<(&'static str, Link)>,
}

#[derive(Debug)]
enum Link {
    /// Goes with the process.
    Held(FdLink),
    /// Stays.
    Pinned(PinnedLink),
}

impl Attached {
    /// Loads and attaches all of them.
    pub(super) fn all(object: &mut Ebpf, root: &CgroupRoot) -> Result<Self, CaptureError> {
        let mut attached = Self::default();
        attached.complete(object, root)?;
        Ok(attached)
    }

    /// Pins every link at `dir/PROGRAM`, and attaches first what an earlier failure had lost. After an error some are pinned, and all are
    /// attached unless the error says which one is not.
    pub(super) fn pin(&mut self, object: &mut Ebpf, root: &CgroupRoot, dir: &Path) -> Result<(), CaptureError> {
        self.complete(object, root)?;
        let mut rest = std::mem::take(&mut self.links).into_iter();
        let mut outcome = Ok(());
        for (name, link) in rest.by_ref() {
            let link = match link {
                Link::Pinned(link) => link,
                Link::Held(link) => match link.pin(dir.join(name)) {
                    Ok(link) => link,
                    Err(error) => {
                        outcome =
                            Err(CaptureError::Pin { doing: "pinning", path: dir.join(name), reason: chain(&error) });
                        break;
                    }
                },
            };
            self.links.push((name, Link::Pinned(link)));
        }
        self.links.extend(rest);
        // The refused link is gone by now: attach another.
        outcome.or_else(|error| self.complete(object, root).and(Err(error)))
    }

    /// Attaches every program that has no link.
    fn complete(&mut self, object: &mut Ebpf, root: &CgroupRoot) -> Result<(), CaptureError> {
        for (place, name) in PROGRAMS.into_iter().enumerate() {
            if self.links.get(place).is_none_or(|(there, _)| *there != name) {
                let link = attach(object, name, root)?;
                self.links.insert(place, (name, Link::Held(link)));
            }
        }
        Ok(())
    }

    /// Takes every pin away; the links stay with the process.
    pub(super) fn unpin(&mut self) {
        for (name, link) in std::mem::take(&mut self.links) {
            let link = match link {
                Link::Held(link) => link,
                // A pin that someone else removed is as good as one that we did.
                Link::Pinned(link) => FdLink::from(link),
            };
            self.links.push((name, Link::Held(link)));
        }
    }
}

impl Attached {
    /// Lets go of the connect hooks. The others stay: redirected sockets go on answering with the names that they had.
    pub(super) fn release_connects(&mut self) {
        self.links.retain(|(name, _)| !CONNECTS.contains(name));
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        while self.links.pop().is_some() {}
    }
}

fn attach(object: &mut Ebpf, name: &'static str, root: &CgroupRoot) -> Result<FdLink, CaptureError> {
    let missing = || CaptureError::Load {
        what: format!("program {name}"),
        reason: "the object has no such program".to_owned(),
        hint: "; binary and object are of different versions, build both again",
    };
    let refused = |error: ProgramError| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            // The whole log is thousands of lines; its end says what was wrong.
            tracing::debug!(program = name, %verifier_log, "the verifier refused a program");
            let log = verifier_log.to_string();
            let verdict =
                log.lines().map(str::trim).rfind(|line| !line.is_empty() && !is_summary(line)).unwrap_or_default();
            let hint = hint_for(io_error.raw_os_error());
            CaptureError::Load { what: format!("program {name}"), reason: format!("{io_error}: {verdict}"), hint }
        }
        error => CaptureError::Attach { program: name, cgroup: root.path().to_owned(), reason: chain(&error) },
    };
    let old = |error: LinkError| CaptureError::Attach {
        program: name,
        cgroup: root.path().to_owned(),
        reason: format!("{}; the kernel has no BPF links for cgroups (5.7)", chain(&error)),
    };
    let program = object.program_mut(name).ok_or_else(missing)?;
    match program {
        Program::CgroupSockAddr(program) => sock_addr(program, root).map_err(refused)?.try_into().map_err(old),
        Program::SockOps(program) => sock_ops(program, root).map_err(refused)?.try_into().map_err(old),
        _ => Err(missing()),
    }
}

/// The figures that the verifier prints last.
fn is_summary(line: &str) -> bool {
    ["verification time", "stack depth", "processed"].iter().any(|start| line.starts_with(start))
}

fn sock_addr(
    program: &mut CgroupSockAddr,
    root: &CgroupRoot,
) -> Result<aya::programs::cgroup_sock_addr::CgroupSockAddrLink, ProgramError> {
    if program.fd().is_err() {
        program.load()?;
    }
    let link = program.attach(root, CgroupAttachMode::Single)?;
    program.take_link(link)
}

fn sock_ops(program: &mut SockOps, root: &CgroupRoot) -> Result<aya::programs::sock_ops::SockOpsLink, ProgramError> {
    if program.fd().is_err() {
        program.load()?;
    }
    let link = program.attach(root, CgroupAttachMode::Single)?;
    program.take_link(link)
}
