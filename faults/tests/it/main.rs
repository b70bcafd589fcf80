//! Faults are pure, so they are tested as functions: by table, and by laws over views and seeds.

mod examples;
mod grudges;
mod plans;
mod views;
