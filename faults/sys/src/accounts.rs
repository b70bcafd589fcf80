//! Users of this machine.

use std::ffi::CString;
use std::io;

use nix::unistd::{User, getgrouplist};
use serde::{Deserialize, Serialize};

/// A user and the groups it is in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
}

/// The user of that name, if there is one.
pub fn find(name: &str) -> io::Result<Option<Account>> {
    let Some(user) = User::from_name(name)? else { return Ok(None) };
    let c_name = CString::new(name)?;
    let groups = getgrouplist(&c_name, user.gid)?.into_iter().map(nix::unistd::Gid::as_raw).collect();
    Ok(Some(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups }))
}

/// The name of the user with that id, if it has one.
pub fn name_of(uid: u32) -> io::Result<Option<String>> {
    Ok(User::from_uid(uid.into())?.map(|user| user.name))
}
