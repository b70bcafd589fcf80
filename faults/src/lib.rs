//! Faults as pure decisions: a cluster view and a seed to actions
