//! The deeds on Linux: namespaces, netfilter, cgroups, processes

pub mod accounts;
pub mod cgroup;
pub mod children;
pub mod clock;
pub mod copy;
pub mod datagrams;
pub mod dirs;
pub mod files;
pub mod frames;
pub mod identity;
pub mod ip;
pub mod launch;
pub mod loops;
pub mod mounts;
pub mod namespaces;
pub mod nft;
pub mod packet;
pub mod pass;
pub mod press;
pub mod process;
pub mod programs;
pub mod ready;
pub mod sockets;
pub mod spawn;
pub mod trace;
pub mod volume;
