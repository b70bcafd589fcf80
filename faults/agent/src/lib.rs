//! The process beside a node that performs actions, holds them and undoes them
