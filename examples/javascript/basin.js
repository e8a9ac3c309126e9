// A Basin reasoner as an object: queries as in a YAML file, answers as plain objects.
"use strict";

const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const PROTO = path.resolve(__dirname, "../../proto");
const OPTIONS = { keepCase: true, longs: Number, enums: String, oneofs: true, defaults: true, arrays: true };

// ---------------------------------------------------------------- plain values

// Nested lists of whole numbers (null: open) travel packed, anything else nested as JSON.
function toValue(plain) {
  if (plain === null) return { null: "NULL_UNSPECIFIED" };
  if (typeof plain === "boolean") return { truth: plain };
  if (typeof plain === "string") return { text: plain };
  if (typeof plain === "number") {
    return Number.isInteger(plain) ? { integer: plain } : { real: plain };
  }
  if (!Array.isArray(plain)) return { json: JSON.stringify(plain) };
  const shape = shapeOf(plain);
  const flat = plain.flat(Infinity);
  const whole = flat.every((entry) => entry === null || Number.isInteger(entry));
  if (shape === null || !whole) return { json: JSON.stringify(plain) };
  const missing = flat.flatMap((entry, k) => (entry === null ? [k] : []));
  return { array: { shape, integers: flat.map((entry) => entry ?? 0), missing } };
}

function shapeOf(plain) {
  if (!Array.isArray(plain)) return [];
  const inner = plain.map(shapeOf);
  const same = inner.every((s) => s !== null && String(s) === String(inner[0]));
  return same && inner.length ? [inner.length, ...inner[0]] : null;
}

function fromValue(value) {
  if (value.kind === "array") return fromArray(value.array);
  if (value.kind === "json") return JSON.parse(value.json);
  return value.kind === "null" ? null : value[value.kind];
}

function fromArray({ shape, integers, reals, missing }) {
  const flat = integers.length ? [...integers] : [...reals];
  for (const place of missing) flat[place] = null;
  const nest = (entries, [size, ...rest]) => {
    if (!rest.length) return entries;
    const step = entries.length / size;
    return Array.from({ length: size }, (_, k) => nest(entries.slice(k * step, (k + 1) * step), rest));
  };
  return nest(flat, shape);
}

const toAssignment = (plain) => ({
  entries: Object.entries(plain).map(([name, value]) => ({ name, value: toValue(value) })),
});

const fromAssignment = (message) =>
  Object.fromEntries(message.entries.map(({ name, value }) => [name, fromValue(value)]));

// ---------------------------------------------------------------- queries and answers

const toTerm = (term) => ({ ...term, params: toAssignment(term.params ?? {}) });

function toQuery({ variables, terms, evidence = {}, budget = {} }) {
  return {
    variables: Object.entries(variables).map(([name, spec]) => ({
      name,
      shape: spec.shape ?? [],
      ...(spec.values
        ? { finite: { values: toValue(spec.values) } }
        : { real: { low: spec.low, high: spec.high } }),
    })),
    terms: terms.map(toTerm),
    evidence: [evidence].flat().map(toAssignment),
    budget,
  };
}

function fromAnswer(answer) {
  return {
    ...answer,
    status: answer.status.replace("STATUS_", ""),
    values: answer.values ? fromAssignment(answer.values) : null,
    unique: answer._unique ? answer.unique : null,
    energy: answer._energy ? answer.energy : null,
  };
}

// ---------------------------------------------------------------- the client

class Basin {
  constructor(address, services = load()) {
    const credentials = grpc.credentials.createInsecure();
    const options = {
      'grpc.max_receive_message_length': 32 << 20, // what the service sends at most; gRPC's own limit is 4 MiB
    };
    this.stub = new services.ReasonerService(address, credentials, options);
    this.sessions = new services.SessionService(address, credentials, options);
  }

  // One answer for each row of evidence.
  async solve(query, options = {}) {
    const response = await this.call("Solve", { query: toQuery(query), options });
    return response.answers.map(fromAnswer);
  }

  // A session: each request resolves to the service's response, in order.
  session(query) {
    const stream = this.sessions.StreamSession();
    const waiting = [];
    stream.on("data", (response) => {
      const { resolve, reject } = waiting.shift();
      if (response.error) reject(new Error(response.error.message));
      else resolve(response);
    });
    stream.on("error", (error) => waiting.splice(0).forEach(({ reject }) => reject(error)));
    const send = (request) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        stream.write(request);
      });
    const opened = send({ query: toQuery(query) });
    const message = ({ add = [], drop = [], evidence }) => ({
      drop,
      add: add.map(toTerm),
      ...(evidence && { evidence: toAssignment(evidence) }),
    });
    return {
      opened,
      change: (change) => send({ change: message(change) }),
      answer: async ({ change, ...resolve } = {}) => {
        const response = await send({ ...(change && { change: message(change) }), resolve });
        return fromAnswer(response.answer);
      },
      close: () => stream.end(),
    };
  }

  call(method, request) {
    return new Promise((resolve, reject) => {
      const deadline = new Date(Date.now() + 30_000);
      this.stub[method](request, { deadline }, (error, response) =>
        error ? reject(error) : resolve(response),
      );
    });
  }

  close() {
    this.stub.close();
    this.sessions.close();
  }
}

// The services as the .proto files of a checkout describe them; google/rpc lies beside this file.
function load(folder = PROTO) {
  const options = { ...OPTIONS, includeDirs: [folder, __dirname] };
  return services(loader.loadSync(["basin/v1/reasoner.proto", "basin/v1/session.proto"], options));
}

const services = (definition) => grpc.loadPackageDefinition(definition).basin.v1;

// The same from a process that was started with --reflection: it describes itself.
async function reflected(address) {
  const definition = loader.loadSync(path.join(__dirname, "reflection.proto"), OPTIONS);
  const { ServerReflection } = grpc.loadPackageDefinition(definition).grpc.reflection.v1alpha;
  const stub = new ServerReflection(address, grpc.credentials.createInsecure());
  const ask = (request) =>
    new Promise((resolve, reject) => {
      const stream = stub.ServerReflectionInfo();
      stream.on("data", resolve);
      stream.on("error", reject);
      stream.write(request);
      stream.end();
    });
  const listed = await ask({ list_services: "" });
  const names = listed.list_services_response.service.map(({ name }) => name);
  const files = new Map(); // a file that both services need is told twice
  for (const symbol of ["basin.v1.ReasonerService", "basin.v1.SessionService"]) {
    const described = await ask({ file_containing_symbol: symbol });
    for (const file of described.file_descriptor_response.file_descriptor_proto) {
      files.set(file.toString("latin1"), file);
    }
  }
  stub.close();
  const parts = [...files.values()].flatMap((file) => [Buffer.from([0x0a, ...varint(file.length)]), file]);
  const found = loader.loadFileDescriptorSetFromBuffer(Buffer.concat(parts), OPTIONS);
  return { names, services: services(found) };
}

function varint(size) {
  return size < 128 ? [size] : [(size & 127) | 128, ...varint(size >> 7)];
}

module.exports = { Basin, load, reflected, toValue, fromValue };
