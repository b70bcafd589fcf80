//! verdict placeholder
