//! What a request has the worker compute: jobs that were taken together, what becomes of them, and that they are given up when nobody waits any more.

use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::App;
use super::failure::Failure;
use super::served::Served;
use crate::cancel::Cancel;
use crate::sampler::Sampling;
use crate::worker::{Job, Update, Wants};

/// What is a job's own.
pub struct Order {
    pub tokens: Vec<u32>,
    pub wants: Wants,
    pub sampling: Sampling,
    /// Tokens at most.
    pub limit: Option<usize>,
}

/// Jobs that were taken by the worker, by their numbers. Dropping it gives them up.
pub struct Jobs {
    receiver: UnboundedReceiver<(usize, Update)>,
    cancels: Vec<Cancel>,
    deadline: Instant,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for cancel in &self.cancels {
            cancel.cancel();
        }
    }
}

impl Jobs {
    /// Hands the work to the worker.
    pub fn submit(
        app: &App,
        served: &Served,
        orders: impl IntoIterator<Item = Order>,
    ) -> Result<Jobs, Failure> {
        let (sender, receiver) = unbounded_channel();
        let (mut jobs, mut cancels) = (Vec::new(), Vec::new());
        for (number, Order { tokens, wants, sampling, limit }) in orders.into_iter().enumerate() {
            let (sender, cancel) = (sender.clone(), Cancel::new());
            cancels.push(cancel.clone());
            jobs.push(Job {
                tokens,
                wants,
                sampling,
                limit,
                ends: served.ends.clone(),
                cancel,
                // Nobody listens any more: the flag is raised, too.
                sink: Box::new(move |update| drop(sender.send((number, update)))),
            });
        }
        app.worker.submit(jobs)?;
        Ok(Jobs { receiver, cancels, deadline: Instant::now() + app.settings.request_time })
    }

    /// What becomes of one of them next.
    pub async fn receive(&mut self) -> Result<(usize, Update), Failure> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        match tokio::time::timeout_at(deadline, self.receiver.recv()).await {
            Ok(Some(update)) => Ok(update),
            Ok(None) => Err(Failure::unavailable("the server is shutting down")),
            Err(_) => Err(Failure::slow()),
        }
    }

    /// Gives one of them up.
    pub fn cancel(&self, number: usize) {
        self.cancels[number].cancel();
    }
}
