//! What a run says to people and to CI: JSON and JUnit
