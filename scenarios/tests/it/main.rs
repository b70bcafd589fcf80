//! The scenario language against small stand-ins for the registries: what it knows must not depend on the real ones.

mod broken;
mod fakes;
mod library;
mod read;
mod render;
