//! What scenarios share: the cluster, one installation and one cast, made when the first of them asks.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use anyhow::{Result, bail};
use integration::cluster::{Agent, Cast, Cluster, Installation, Node};

/// A scenario that this cluster cannot play; its reason.
#[derive(Debug)]
pub(crate) struct NotHere(pub(crate) String);

impl std::fmt::Display for NotHere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotHere {}

pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    /// Upgrades in a row.
    pub(crate) cycles: usize,
    installation: RefCell<Option<Installation>>,
    cast: RefCell<Option<Rc<Cast>>>,
    /// Lines that the running scenario has shown.
    shown: Cell<usize>,
}

impl Scene {
    pub(crate) fn new(cluster: Cluster, cycles: usize) -> Self {
        Self { cluster, cycles, installation: RefCell::new(None), cast: RefCell::new(None), shown: Cell::new(0) }
    }

    /// A line of what the running scenario has seen.
    pub(crate) fn show(&self, line: impl std::fmt::Display) {
        println!("    {line}");
        self.shown.set(self.shown.get() + 1);
    }

    /// Lines since it was asked last.
    pub(crate) fn take_shown(&self) -> usize {
        self.shown.take()
    }

    /// The agents, ready; installs them if they are not there.
    pub(crate) fn agents(&self) -> Result<[Agent; 2]> {
        let mut installation = self.installation.borrow_mut();
        let there = match installation.take() {
            Some(there) => there.again(&self.cluster.kubectl)?,
            None => Installation::apply(&self.cluster.kubectl)?,
        };
        installation.insert(there).wait(&self.cluster)
    }

    /// Applies the manifests again, and does not wait.
    pub(crate) fn reinstall(&self) -> Result<()> {
        let mut installation = self.installation.borrow_mut();
        let Some(there) = installation.take() else { bail!("it was never installed") };
        *installation = Some(there.again(&self.cluster.kubectl)?);
        Ok(())
    }

    /// Whether this run has installed it and not removed it since.
    pub(crate) fn is_installed(&self) -> bool {
        self.installation.borrow().is_some()
    }

    /// After a failure: what comes next begins with a cast of its own.
    pub(crate) fn clear(&self) {
        self.cast.take();
    }

    /// Takes the installation out, for a scenario that removes it.
    pub(crate) fn installation(&self) -> Result<Installation> {
        self.agents()?;
        let Some(installation) = self.installation.borrow_mut().take() else { bail!("it is not installed") };
        Ok(installation)
    }

    /// The cast, enrolled and mirrored.
    pub(crate) fn cast(&self) -> Result<Rc<Cast>> {
        self.agents()?;
        let there = self.cast.borrow().clone();
        let cast = match there {
            Some(cast) => cast,
            None => Rc::clone(self.cast.borrow_mut().insert(Rc::new(Cast::start(&self.cluster)?))),
        };
        cast.on_stage(&self.cluster)?;
        Ok(cast)
    }

    /// The nodes, for what must be done in them.
    pub(crate) fn reachable_nodes(&self) -> Result<&[Node; 2]> {
        let nodes = &self.cluster.nodes;
        if let Some(node) = nodes.iter().find(|node| !node.is_reachable()) {
            bail!(NotHere(format!(
                "{} is no container of this machine's docker, so nothing can be done in it",
                node.name
            )));
        }
        Ok(nodes)
    }
}
