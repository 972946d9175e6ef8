//! Giving up root for good.

use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgroups, getresgid, getresuid, setegid, seteuid, setgroups,
    setuid,
};

use crate::Error;

/// Who a program, or one of its processes, shall run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub name: String,
    /// The user's number, never 0 when the caller is root.
    pub uid: Uid,
    /// The number of the user's group.
    pub gid: Gid,
}

/// Looks up the account that `key` of the configuration names. A caller who is not root has
/// nothing to drop: the key must then be unset or name the caller.
///
/// # Errors
/// There is no such user, it is root, or the caller is somebody else.
pub fn account(key: &str, name: &str, is_set: bool) -> Result<Account, Error> {
    let caller = geteuid();
    if !caller.is_root() && !is_set {
        return Ok(Account { name: caller.to_string(), uid: caller, gid: getegid() });
    }
    let user = match User::from_name(name) {
        Ok(Some(user)) => user,
        Ok(None) => return Err(Error::new(key, format!("no such user: {name}; tsadmin add makes it"))),
        Err(errno) => return Err(Error::new(key, format!("{name}: {}", errno.desc()))),
    };
    if caller.is_root() && (user.uid.is_root() || user.gid.as_raw() == 0) {
        return Err(Error::new(key, format!("{name}: must be a user and group without root's rights")));
    }
    if !caller.is_root() && user.uid != caller {
        return Err(Error::new(key, format!("{name}: run as root, or leave {key} unset to run as yourself")));
    }
    Ok(Account { name: name.to_owned(), uid: user.uid, gid: user.gid })
}

/// Does something with no more rights than the account has, and takes root's back; a caller who
/// is not root has none to lay down.
///
/// # Errors
/// The rights cannot be laid down or taken back. The caller must exit.
pub fn with_rights_of<T>(account: &Account, action: impl FnOnce() -> T) -> Result<T, Error> {
    let failed = |errno: nix::Error| Error::new(&account.name, errno.desc());
    if !geteuid().is_root() {
        return Ok(action());
    }
    let (group, groups) = (getegid(), getgroups().map_err(failed)?);
    setgroups(&[account.gid]).and_then(|()| setegid(account.gid)).map_err(failed)?;
    seteuid(account.uid).map_err(failed)?;
    let result = action();
    seteuid(Uid::from_raw(0)).and_then(|()| setegid(group)).map_err(failed)?;
    setgroups(&groups).map_err(failed)?;
    Ok(result)
}

/// Becomes the account, for good, if the caller is root; then checks that nothing of root is left.
///
/// # Errors
/// A step failed, or something of root is left. The caller must exit.
pub fn drop_to(account: &Account) -> Result<(), Error> {
    let uids = getresuid().map_err(|errno| Error::new(&account.name, errno.desc()))?;
    if ![uids.real, uids.effective, uids.saved].iter().any(|uid| uid.is_root()) {
        return Ok(());
    }
    privdrop::PrivDrop::default()
        .user(&account.name)
        .apply()
        .map_err(|error| Error::new(&account.name, error))?;
    verify(account).map_err(|left| Error::new(&account.name, format!("cannot give up root: {left}")))
}

/// Proves that every id is the account's and that root cannot be had back.
fn verify(account: &Account) -> Result<(), String> {
    let user =
        User::from_uid(account.uid).map_err(|errno| errno.desc().to_owned())?.ok_or("the user is gone")?;
    let uids = getresuid().map_err(|errno| errno.desc().to_owned())?;
    if [uids.real, uids.effective, uids.saved] != [user.uid; 3] || user.uid.is_root() {
        return Err(format!("user ids are {}, {}, {}", uids.real, uids.effective, uids.saved));
    }
    let gids = getresgid().map_err(|errno| errno.desc().to_owned())?;
    if [gids.real, gids.effective, gids.saved] != [user.gid; 3] {
        return Err(format!("group ids are {}, {}, {}", gids.real, gids.effective, gids.saved));
    }
    let groups = getgroups().map_err(|errno| errno.desc().to_owned())?;
    if let Some(other) = groups.iter().find(|group| **group != user.gid) {
        let name =
            Group::from_gid(*other).ok().flatten().map_or_else(|| other.to_string(), |group| group.name);
        return Err(format!("still a member of group {name}"));
    }
    match setuid(Uid::from_raw(0)) {
        Ok(()) => Err("setuid(0) succeeded".to_owned()),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_caller_drops_nothing() {
        if geteuid().is_root() {
            return;
        }
        let own = account("FETCH_USER", "_tsfetch", false).unwrap();
        assert_eq!(own.uid, geteuid());
        drop_to(&own).unwrap();
        assert!(account("FETCH_USER", "root", true).is_err());
    }

    #[test]
    fn root_drops_to_nobody_and_refuses_root() {
        assert!(account("FETCH_USER", "no-such-user-here", true).is_err());
        if !geteuid().is_root() {
            return;
        }
        let error = account("FETCH_USER", "root", true).unwrap_err().to_string();
        assert_eq!(error, "FETCH_USER: root: must be a user and group without root's rights");
        assert_eq!(account("FETCH_USER", "nobody", true).unwrap().name, "nobody");
    }
}
