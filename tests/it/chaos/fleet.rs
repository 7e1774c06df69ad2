//! The instances of a run: started, ended, halted; one that ends by itself begins anew, as a platform does it.

use std::process::ExitStatus;

use super::plan::INSTANCES;
use crate::servers::{Bridge, Network, Server as _};
use crate::service::site::Site;

/// Exit codes with which an instance may end by itself or when told to: in order, too late, and for a new
/// process to begin cleanly.
const CODES: [i32; 3] = [0, 1, 70];

/// The instances.
pub(super) struct Fleet<'s> {
    site: &'s Site<'s>,
    network: Option<&'s Network>,
    bridges: Vec<Bridge>,
    /// Whether each should run.
    wanted: Vec<bool>,
    /// How often one ended by itself.
    pub(super) by_themselves: usize,
}

impl<'s> Fleet<'s> {
    /// Starts all that always should run.
    pub(super) fn start(site: &'s Site<'s>, network: Option<&'s Network>) -> Self {
        let mut fleet =
            Self { site, network, bridges: Vec::new(), wanted: Vec::new(), by_themselves: 0 };
        (0..INSTANCES).for_each(|_| fleet.one_more());
        fleet.bridges.iter().for_each(|bridge| drop(bridge.wait_ready()));
        fleet
    }

    fn one_more(&mut self) {
        let link = self.network.map(|network| network.link(self.bridges.len()));
        self.bridges.push(self.site.start_on(link));
        self.wanted.push(true);
    }

    /// Lets no packet of an instance pass any more; whether that is possible.
    pub(super) fn unplug(&self, instance: usize) -> bool {
        self.network.map(|network| network.link(instance).cut()).is_some()
    }

    /// Lets all pass again.
    pub(super) fn plug(&self, instance: usize) {
        if let Some(network) = self.network {
            network.link(instance).mend();
        }
    }

    pub(super) fn kill(&mut self, instance: usize) {
        self.bridges[instance].kill();
        self.wanted[instance] = false;
    }

    /// Ends one in order; says how it ended.
    pub(super) fn terminate(&mut self, instance: usize) -> ExitStatus {
        self.wanted[instance] = false;
        let status = self.bridges[instance].ends();
        self.accept(instance, status);
        status
    }

    pub(super) fn start_again(&mut self, instance: usize) {
        self.bridges[instance].start_again();
        self.wanted[instance] = true;
    }

    pub(super) fn freeze(&self, instance: usize) {
        self.bridges[instance].pause();
    }

    pub(super) fn thaw(&self, instance: usize) {
        self.bridges[instance].resume();
    }

    /// One more than usual.
    pub(super) fn join(&mut self) {
        if self.bridges.len() > INSTANCES {
            return self.start_again(INSTANCES);
        }
        self.one_more();
    }

    /// The one more leaves.
    pub(super) fn leave(&mut self) -> ExitStatus {
        self.terminate(INSTANCES)
    }

    /// Halts all that run while something is done.
    pub(super) fn all_halted(&self, done: impl FnOnce()) {
        let halted: Vec<&Bridge> = self.running().filter(|its| !its.is_halted()).collect();
        halted.iter().for_each(|bridge| bridge.pause());
        done();
        halted.iter().for_each(|bridge| bridge.resume());
    }

    /// Lets all go on, and starts all that should run.
    pub(super) fn heal(&mut self) {
        for instance in 0..INSTANCES {
            self.plug(instance);
            match self.wanted[instance] {
                true => self.thaw(instance),
                false => self.start_again(instance),
            }
        }
        self.revive();
    }

    /// Starts those again that have ended by themselves.
    pub(super) fn revive(&mut self) {
        for instance in 0..self.bridges.len() {
            let ended = self.wanted[instance].then(|| self.bridges[instance].ended()).flatten();
            let Some(status) = ended else { continue };
            self.accept(instance, status);
            self.by_themselves += 1;
            self.bridges[instance].kill();
            self.plug(instance);
            self.bridges[instance].start_again();
        }
    }

    /// Ends all in order, which each must manage in time.
    pub(super) fn end(&self) {
        self.running().for_each(Bridge::end);
    }

    /// Whether all are ready.
    pub(super) fn all_ready(&self) -> bool {
        self.running().all(|bridge| bridge.http("/ready").is_some_and(|(status, _)| status == 200))
    }

    /// What each that should run says of itself.
    pub(super) fn conditions(&self) -> Vec<String> {
        const SHOWN: usize = 400;
        let condition = |bridge: &Bridge| match bridge.http("/ready") {
            Some((status, said)) => {
                format!("{status} {}", said.chars().take(SHOWN).collect::<String>())
            }
            None if bridge.is_halted() => "is halted".to_owned(),
            None => "does not answer".to_owned(),
        };
        self.running().map(condition).collect()
    }

    /// What each has said.
    pub(super) fn logs(&self) -> Vec<String> {
        self.bridges.iter().map(Bridge::log).collect()
    }

    /// How many should run.
    pub(super) fn running_count(&self) -> usize {
        self.running().count()
    }

    fn running(&self) -> impl Iterator<Item = &Bridge> {
        self.bridges.iter().zip(&self.wanted).filter(|(_, wanted)| **wanted).map(|(its, _)| its)
    }

    fn accept(&self, instance: usize, status: ExitStatus) {
        let known = status.code().is_some_and(|code| CODES.contains(&code));
        assert!(known, "instance {instance} ended with {status}");
    }
}
