//! Faults are pure, so they are tested as functions: by table, and by laws over views and seeds.

#![expect(clippy::unwrap_used, reason = "what a test cannot read or write fails it")]

mod examples;
mod grudges;
mod plans;
mod views;
