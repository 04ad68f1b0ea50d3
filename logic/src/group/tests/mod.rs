mod classic;
mod errors;
mod model;
mod offsets;
mod script;

use super::*;
