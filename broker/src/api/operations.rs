//! What a client may do, as bits by Kafka's numbers of operations. There are no permissions yet: everybody may do all
//! that a resource knows, as in Kafka without an authorizer.

const CREATE: u8 = 5;
const DESCRIBE: u8 = 8;
const ALTER: u8 = 7;
const DESCRIBE_CONFIGS: u8 = 10;
const ALTER_CONFIGS: u8 = 11;

/// Nobody asked.
pub const NOT_ASKED: i32 = i32::MIN;

/// With a topic: also READ (3), WRITE (4), DELETE (6).
pub const TOPIC: i32 = bits(&[3, 4, CREATE, 6, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS]);

/// With a group: READ (3), DELETE (6), and to describe and configure it.
pub const GROUP: i32 = bits(&[3, 6, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS]);

/// With the cluster: also CLUSTER_ACTION (9), IDEMPOTENT_WRITE (12).
pub const CLUSTER: i32 = bits(&[CREATE, ALTER, DESCRIBE, 9, DESCRIBE_CONFIGS, ALTER_CONFIGS, 12]);

const fn bits(operations: &[u8]) -> i32 {
    let (mut bits, mut index) = (0, 0);
    while index < operations.len() {
        bits |= 1 << operations[index];
        index += 1;
    }
    bits
}
