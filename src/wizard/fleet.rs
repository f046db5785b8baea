//! The same step on many clients at once; who failed and why. A client that failed a step is left out of the later ones.

use crate::diag::Exit;
use crate::keys::PublicKey;

use super::client::{ClientError, Step};
use super::names::Host;
use super::remote::Remote;

/// A client in the making.
pub(super) struct Member {
    /// Who it is.
    pub host: Host,
    /// Its public key, once it is known.
    pub key: Option<PublicKey>,
    /// Its start-up file as it was.
    pub rc: Vec<u8>,
    /// It was a managed client before this run.
    pub known: bool,
    /// What failed.
    pub fault: Option<ClientError>,
    /// Its first run of cfagent failed; it is managed all the same.
    pub warning: Option<ClientError>,
}

impl Member {
    /// A client that nothing was done with yet.
    pub fn new(host: Host, known: bool) -> Self {
        Member {
            host,
            key: None,
            rc: Vec::new(),
            known,
            fault: None,
            warning: None,
        }
    }
}

/// Clients, and a way to reach them.
pub(super) struct Fleet<'a> {
    remote: &'a dyn Remote,
    pub members: Vec<Member>,
}

impl<'a> Fleet<'a> {
    pub fn new(remote: &'a dyn Remote, members: Vec<Member>) -> Self {
        Fleet { remote, members }
    }

    /// Does a step on every client that has not failed yet, and keeps what it gave.
    pub fn each<R>(
        &mut self,
        step: impl Fn(&Member) -> Result<Step<R>, ClientError>,
        mut keep: impl FnMut(&mut Member, R),
    ) {
        let (mut at, mut steps, mut orders) = (Vec::new(), Vec::new(), Vec::new());
        for (n, member) in self.members.iter_mut().enumerate() {
            if member.fault.is_some() {
                continue;
            }
            match step(member) {
                Ok(mut step) => {
                    // The order travels alone; it may hold much.
                    orders.push(step.take_order());
                    steps.push(step);
                    at.push(n);
                }
                Err(fault) => member.fault = Some(fault),
            }
        }
        if orders.is_empty() {
            return;
        }
        let results = self.remote.run_all(&orders);
        for ((n, step), result) in at.into_iter().zip(steps).zip(results) {
            let member = &mut self.members[n];
            match step.read(result) {
                Ok(value) => keep(member, value),
                Err(fault) => member.fault = Some(fault),
            }
        }
    }

    /// As [`Fleet::each`] for steps that give nothing.
    pub fn all(&mut self, step: impl Fn(&Member) -> Step<()>) {
        self.each(|member| Ok(step(member)), |_, ()| {});
    }

    /// The clients that did not fail.
    pub fn good(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.fault.is_none())
    }

    /// The names of those.
    pub fn good_names(&self) -> Vec<String> {
        self.good().map(|member| member.host.name.clone()).collect()
    }

    /// The clients that failed.
    pub fn bad(&self) -> impl Iterator<Item = (&Member, &ClientError)> {
        self.members
            .iter()
            .filter_map(|member| Some((member, member.fault.as_ref()?)))
    }

    /// One line for each client with trouble, with what to do about it.
    pub fn report(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (member, fault) in self.bad() {
            let name = &member.host.name;
            lines.push(format!("The client {name} could not be configured: {fault}."));
            lines.extend(fault.hint(name));
        }
        for member in self.good() {
            if let Some(warning) = &member.warning {
                lines.push(format!("The client {} is configured, but {warning}.", member.host.name));
            }
        }
        lines
    }

    /// 0 when all went well, 4 when all trouble is that clients were not reached, otherwise 1.
    pub fn exit(&self) -> Exit {
        let warned = self.good().any(|member| member.warning.is_some());
        let mut faults = self.bad().map(|(_, fault)| fault).peekable();
        match (faults.peek().is_some(), warned) {
            (false, false) => Exit::Done,
            (true, false) if faults.all(|fault| matches!(fault, ClientError::Unreachable(_))) => Exit::Unreachable,
            _ => Exit::Failed,
        }
    }
}
