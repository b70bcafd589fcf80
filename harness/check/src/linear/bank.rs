//! A bank: transfers between accounts, and reads of their balances. Whether an account may be overdrawn is for the
//! system to say, by failing the transfer.

use crate::history::Value;

/// What is done with the accounts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Business {
    /// So much goes from the first account to the second.
    Transfer(usize, usize, i64),
    /// These accounts have these balances.
    Balances(Box<[(usize, i64)]>),
}

/// The balances after it; nothing when they were others.
pub(super) fn step(balances: &[i64], business: &Business) -> Option<Box<[i64]>> {
    let mut after: Box<[i64]> = balances.into();
    match business {
        Business::Transfer(from, to, amount) => {
            let payer = after.get_mut(*from)?;
            *payer = payer.checked_sub(*amount)?;
            let gainer = after.get_mut(*to)?;
            *gainer = gainer.checked_add(*amount)?;
        }
        Business::Balances(read) => {
            if !read.iter().all(|(account, balance)| balances.get(*account) == Some(balance)) {
                return None;
            }
        }
    }
    Some(after)
}

/// The field of a map, by its name.
pub(super) fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Map(entries) = map else { return None };
    entries.iter().find(|(key, _)| key.name() == Some(name)).map(|(_, value)| value)
}

/// `{:from a, :to b, :amount n}`.
pub(super) fn transfer(value: &Value, mut account: impl FnMut(&Value) -> usize) -> Option<Business> {
    let (from, to) = (field(value, "from")?, field(value, "to")?);
    Some(Business::Transfer(account(from), account(to), field(value, "amount")?.int()?))
}

/// `{account balance …}`; a balance of nil is not known.
pub(super) fn balances(value: &Value, mut account: impl FnMut(&Value) -> usize) -> Option<Box<[(usize, i64)]>> {
    let Value::Map(entries) = value else { return None };
    let known = entries.iter().filter(|(_, balance)| !balance.is_nil());
    known.map(|(key, balance)| Some((account(key), balance.int()?))).collect()
}
