//! What clients do: the ledger
