//! Pure checkers of recorded runs
