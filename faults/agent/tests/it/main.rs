//! The contract of the agent, against the real program in real network namespaces. Needs root.

mod agent;
mod clock;
mod cut;
mod ends;
mod heal;
mod holding;
mod holds;
mod impair;
mod late;
mod names;
mod press;
mod processes;
mod protocol;
mod requests;
mod served;
mod storm;
mod watch;
mod world;
