// kafkajs behind the driver protocol of tests/clients/README.md. The client has no consumer without a group, so
// `consume` sends fetches through the client's own cluster and decoder.
'use strict'

const readline = require('node:readline')
const { Kafka, CompressionTypes, logLevel, ConfigResourceTypes } = require('kafkajs')
const Cluster = require('kafkajs/src/cluster')
const createSocketFactory = require('kafkajs/src/network/socketFactory')

const DEADLINE_MS = 60_000
const bootstrap = process.argv[2]
const kafka = new Kafka({
  clientId: 'kafkajs-driver',
  brokers: [bootstrap],
  logLevel: logLevel.NOTHING,
  retry: { retries: 3 },
})

const fromHex = (text) => (text === null ? null : Buffer.from(text, 'hex'))
const toHex = (buffer) => (buffer === null || buffer === undefined ? null : Buffer.from(buffer).toString('hex'))

let admin = null
async function connectedAdmin() {
  if (admin === null) {
    admin = kafka.admin()
    await admin.connect()
  }
  return admin
}

// kafkajs keeps headers as an object: the values of one name stay in order, the order among names is that of first use.
function headersToObject(headers) {
  const object = {}
  for (const [name, value] of headers) {
    const bytes = fromHex(value)
    if (name in object) object[name] = [].concat(object[name], [bytes])
    else object[name] = bytes
  }
  return object
}

function headersToList(headers) {
  return Object.entries(headers || {}).flatMap(([name, values]) =>
    (Array.isArray(values) ? values : [values]).map((value) => [name, toHex(value)])
  )
}

const operations = {
  async hello() {
    return { client: `kafkajs ${require('kafkajs/package.json').version}` }
  },

  async produce(request) {
    const producer = kafka.producer({
      idempotent: request.idempotent,
      createPartitioner: () => ({ message }) => message.partition,
    })
    await producer.connect()
    try {
      const acks = request.acks === 'all' ? -1 : Number(request.acks)
      const compression = request.compression === 'gzip' ? CompressionTypes.GZIP : CompressionTypes.None
      const offsets = []
      for (const batch of batches(request.records, request.batch_bytes || 1_000_000)) {
        const messages = batch.map((record) => ({
          partition: record.p,
          key: fromHex(record.k),
          value: fromHex(record.v),
          headers: headersToObject(record.h),
          ...(record.t === null ? {} : { timestamp: String(record.t) }),
        }))
        const answers = await producer.send({ topic: request.topic, acks, compression, messages })
        offsets.push(...spreadOffsets(batch, answers))
      }
      return { offsets }
    } finally {
      await producer.disconnect()
    }
  },

  async consume(request) {
    return { records: await readPartition(request) }
  },

  async group(request) {
    const readUncommitted = request.isolation !== 'read_committed'
    const consumer = kafka.consumer({ groupId: request.group, readUncommitted })
    await consumer.connect()
    try {
      await consumer.subscribe({ topics: [request.topic], fromBeginning: true })
      const { values, next } = await readGroup(consumer, request.count)
      await consumer.commitOffsets([...next].map(([partition, offset]) => ({ topic: request.topic, partition, offset })))
      return { values }
    } finally {
      await consumer.disconnect()
    }
  },

  async create_topic(request) {
    const client = await connectedAdmin()
    const made = await client.createTopics({
      topics: [
        {
          topic: request.topic,
          numPartitions: request.partitions,
          replicationFactor: -1,
          configEntries: Object.entries(request.configs).map(([name, value]) => ({ name, value })),
        },
      ],
    })
    // The client turns TOPIC_ALREADY_EXISTS, and nothing else, into a false.
    if (!made) throw Object.assign(new Error('the topic exists'), { code: 36 })
    return {}
  },

  async delete_topic(request) {
    await (await connectedAdmin()).deleteTopics({ topics: [request.topic] })
    return {}
  },

  async list_topics() {
    return { topics: (await (await connectedAdmin()).listTopics()).sort() }
  },

  async describe_topic(request) {
    const { topics } = await (await connectedAdmin()).fetchTopicMetadata({ topics: [request.topic] })
    const partitions = topics[0].partitions.sort((a, b) => a.partitionId - b.partitionId)
    return { leaders: partitions.map((one) => one.leader) }
  },

  async create_partitions(request) {
    const topicPartitions = [{ topic: request.topic, count: request.count }]
    await (await connectedAdmin()).createPartitions({ topicPartitions })
    return {}
  },

  async delete_records(request) {
    const partitions = [{ partition: request.partition, offset: String(request.before) }]
    await (await connectedAdmin()).deleteTopicRecords({ topic: request.topic, partitions })
    return { low_watermark: await this._offset(request, 'low') }
  },

  async list_offsets(request) {
    if (request.at === 'earliest') return { offset: await this._offset(request, 'low') }
    if (request.at === 'latest') return { offset: await this._offset(request, 'high') }
    const found = await (await connectedAdmin()).fetchTopicOffsetsByTimestamp(request.topic, request.at)
    return { offset: Number(found.find((one) => one.partition === request.partition).offset) }
  },

  async _offset(request, end) {
    const found = await (await connectedAdmin()).fetchTopicOffsets(request.topic)
    return Number(found.find((one) => one.partition === request.partition)[end])
  },

  async describe_configs(request) {
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: request.topic }]
    const found = await (await connectedAdmin()).describeConfigs({ includeSynonyms: false, resources })
    const entries = found.resources[0].configEntries
    return {
      configs: Object.fromEntries(
        entries.map((one) => [one.configName, { value: one.configValue, default: one.configSource !== 1 }])
      ),
    }
  },

  async alter_configs(request) {
    const configEntries = Object.entries(request.set).map(([name, value]) => ({ name, value }))
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: request.topic, configEntries }]
    await (await connectedAdmin()).alterConfigs({ validateOnly: false, resources })
    return {}
  },

  async describe_cluster() {
    const cluster = await (await connectedAdmin()).describeCluster()
    return {
      cluster_id: cluster.clusterId,
      controller: cluster.controller,
      nodes: cluster.brokers.map((one) => ({ id: one.nodeId, port: one.port })),
    }
  },
}

// Cuts records into sends that stay below the broker's limit for one batch.
function* batches(records, bytesMax) {
  let batch = []
  let bytes = 0
  for (const record of records) {
    const size = ((record.v || '').length + (record.k || '').length) / 2 + 100
    if (batch.length > 0 && bytes + size > bytesMax) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(record)
    bytes += size
  }
  if (batch.length > 0) yield batch
}

// The client reports one base offset per partition and send.
function spreadOffsets(records, answers) {
  const next = new Map((answers || []).map((one) => [one.partition, Number(one.baseOffset)]))
  return records.map((record) => {
    if (!next.has(record.p)) return -1
    const offset = next.get(record.p)
    next.set(record.p, offset + 1)
    return offset
  })
}

// What a member is handed until it has so many, and where each partition goes on.
function readGroup(consumer, count) {
  const values = []
  const next = new Map()
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve({ values, next }), DEADLINE_MS)
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
    const eachMessage = async ({ partition, message }) => {
      values.push(toHex(message.value))
      next.set(partition, String(BigInt(message.offset) + 1n))
      if (values.length === count) {
        clearTimeout(timer)
        resolve({ values, next })
      }
    }
    consumer.run({ autoCommit: false, eachMessage }).catch(reject)
  })
}

// The consumer's own way to the broker, less the group.
async function readPartition(request) {
  const cluster = new Cluster({
    logger: kafka.logger(),
    brokers: [bootstrap],
    socketFactory: createSocketFactory(),
    clientId: 'kafkajs-driver',
    connectionTimeout: 1000,
    authenticationTimeout: 1000,
    enforceRequestTimeout: true,
    metadataMaxAge: 300_000,
    retry: { retries: 3 },
    allowAutoTopicCreation: false,
    maxInFlightRequests: null,
    isolationLevel: 0,
  })
  await cluster.connect()
  try {
    await cluster.addTargetTopic(request.topic)
    const partitions = request.partitions.map(([partition]) => partition)
    const leaders = cluster.findLeaderForPartitions(request.topic, partitions)
    const broker = await cluster.findBroker({ nodeId: Object.keys(leaders)[0] })
    return await fetchRecords(broker, request)
  } finally {
    await cluster.disconnect()
  }
}

async function fetchRecords(broker, request) {
  const records = []
  const deadline = Date.now() + DEADLINE_MS
  const left = new Map(request.partitions.filter(([, , count]) => count > 0).map(([p, from, count]) => [p, { from, count }]))
  while (left.size > 0 && Date.now() < deadline) {
    const partitions = [...left].map(([partition, { from }]) => ({
      partition,
      fetchOffset: String(from),
      maxBytes: 1_048_576,
    }))
    const fetched = await broker.fetch({
      replicaId: -1,
      isolationLevel: 0,
      maxWaitTime: 500,
      minBytes: 1,
      maxBytes: 10_485_760,
      topics: [{ topic: request.topic, partitions }],
      rackId: '',
    })
    for (const { partition, messages } of fetched.responses.flatMap((one) => one.partitions)) {
      for (const message of messages) takeRecord(records, left, partition, message)
    }
  }
  return records
}

function takeRecord(records, left, partition, message) {
  const wanted = left.get(partition)
  const offset = Number(message.offset)
  if (wanted === undefined || offset < wanted.from) return
  records.push({
    p: partition,
    o: offset,
    t: Number(message.timestamp),
    k: toHex(message.key),
    v: toHex(message.value),
    h: headersToList(message.headers),
  })
  wanted.from = offset + 1
  wanted.count -= 1
  if (wanted.count === 0) left.delete(partition)
}

function errorOf(failure) {
  const inner = failure.errors && failure.errors[0] ? failure.errors[0] : failure
  let cause = inner
  while (cause && typeof cause.code !== 'number' && cause.cause) cause = cause.cause
  return { code: typeof cause.code === 'number' ? cause.code : -1, message: String(failure) }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    let answer
    try {
      answer = await operations[request.op](request)
    } catch (failure) {
      answer = { error: errorOf(failure) }
    }
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
  if (admin !== null) await admin.disconnect()
}

main()
