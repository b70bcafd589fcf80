//! Small histories of every model.
