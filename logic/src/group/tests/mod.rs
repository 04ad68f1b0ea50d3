//! What a coordinator of groups promises: as scripts of requests and answers, and by properties of random histories.

mod classic;
mod consumer;
mod consumer_model;
mod errors;
mod migration;
mod model;
mod offsets;
mod script;

use super::*;
