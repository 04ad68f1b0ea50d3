//! The derive macro behind `protocol::messages`.
