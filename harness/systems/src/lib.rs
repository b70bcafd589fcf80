//! What runs on the nodes: Patroni, and the simulated store
