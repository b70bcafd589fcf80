//! Plans, runs, journals and measures a scenario
