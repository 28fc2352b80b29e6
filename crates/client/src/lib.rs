//! REST client, informers, workqueues, events and leader election.
