//! The scenario language: TOML to Scenario, every mistake at once
