// A gRPC server that knows nothing of Warren but the metadata of its calls. It
// serves demo.v1 with reflection and a health service. SIGUSR2 turns its health to
// NOT_SERVING and back.
//
//   node server.js --listen ADDRESS --recorder ADDRESS --protos FOLDER [--protos FOLDER …]
'use strict';

const net = require('net');
const { parseArgs } = require('util');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const { ReflectionService } = require('@grpc/reflection');
const { HealthImplementation } = require('grpc-health-check');

const files = ['demo/v1/fault_service.proto', 'demo/v1/image_service.proto'];

// recorder reports each start of a handler, before anything else happens: its
// promise is kept once the system has the line.
function recorder(address) {
  const [host, port] = address.split(':');
  const socket = net.connect(Number(port), host);
  socket.setNoDelay(true);
  socket.on('error', (error) => {
    console.error('the recorder is gone:', error.message);
    process.exit(3);
  });
  return (call) => new Promise((done) => {
    const of = (key) => call.metadata.get(key)[0];
    socket.write(`${of('warren-task-id')} ${of('warren-run')} ${of('warren-attempt')}\n`, done);
  });
}

// field is a length-delimited protobuf field of at most 16,383 bytes.
function field(number, data) {
  const length = data.length < 128 ? [data.length] : [data.length & 127 | 128, data.length >> 7];
  return Buffer.concat([Buffer.from([number << 3 | 2, ...length]), data]);
}

// statusDetails is a google.rpc.Status with an ErrorInfo.
function statusDetails(code, message, reason) {
  const info = Buffer.concat([field(1, Buffer.from(reason)), field(2, Buffer.from('node'))]);
  const detail = Buffer.concat([field(1, Buffer.from('type.googleapis.com/google.rpc.ErrorInfo')), field(2, info)]);
  return Buffer.concat([Buffer.from([8, code]), field(2, Buffer.from(message)), field(3, detail)]);
}

// answer sends back as headers what has arrived.
function answer(call) {
  const seen = new grpc.Metadata();
  for (const key of Object.keys(call.metadata.getMap())) {
    call.metadata.get(key).forEach((value) => seen.add(`seen-${key}`, value));
  }
  const deadline = call.getDeadline();
  if (deadline !== Infinity) seen.set('seen-deadline-ms', String(deadline - Date.now()));
  call.sendMetadata(seen);
}

function trailers() {
  const own = new grpc.Metadata();
  own.set('x-language', 'node');
  own.set('x-blob-bin', Buffer.from([0, 255]));
  return own;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// unary makes a handler of a function that gives the response or throws a status.
function unary(started, handle) {
  return async (call, done) => {
    await started(call);
    try {
      done(null, await handle(call), trailers());
    } catch (error) {
      done(error);
    }
  };
}

function faults(started) {
  const calls = new Map();
  return {
    Fail: unary(started, (call) => {
      answer(call);
      const { code, message, reason } = call.request;
      if (code === 0) return {};
      const metadata = trailers();
      if (reason) metadata.set('grpc-status-details-bin', statusDetails(code, message, reason));
      throw { code, details: message, metadata };
    }),
    FailTimes: unary(started, (call) => {
      const { key, times } = call.request;
      calls.set(key, (calls.get(key) || 0) + 1);
      if (calls.get(key) <= times) throw { code: grpc.status.UNAVAILABLE, details: `call ${calls.get(key)}` };
      return { calls: calls.get(key) };
    }),
    Panic: unary(started, (call) => {
      throw new Error(call.request.message);
    }),
    Delay: unary(started, async (call) => {
      answer(call);
      const { seconds, nanos } = call.request.delay;
      await pause(Number(seconds) * 1000 + nanos / 1e6);
      return {};
    }),
    Exit: unary(started, (call) => process.exit(call.request.code)),
    // Only in the schema that the server may be restarted with.
    Later: unary(started, () => ({})),
  };
}

function images(started) {
  return {
    Thumbnail: unary(started, (call) => {
      const { image } = call.request;
      return { image, format: 'IMAGE_FORMAT_PNG', width: image.readUInt32BE(16), height: image.readUInt32BE(20) };
    }),
    ContactSheet: async (call) => {
      await started(call);
      answer(call);
      const pictures = call.request.images;
      pictures.forEach((_, i) => {
        const last = i === pictures.length - 1;
        call.write({ placed: i + 1, total: pictures.length, sheet: last ? pictures[0] : Buffer.alloc(0) });
      });
      call.end(trailers());
    },
  };
}

function health(server) {
  const status = (up) => ({ '': up ? 'SERVING' : 'NOT_SERVING' });
  let up = true;
  const service = new HealthImplementation(status(up));
  service.addToServer(server);
  process.on('SIGUSR2', () => {
    up = !up;
    service.setStatus('', status(up)['']);
  });
}

function main() {
  const { values } = parseArgs({ options: {
    listen: { type: 'string' }, recorder: { type: 'string' }, protos: { type: 'string', multiple: true },
  } });
  const definition = loader.loadSync(files, {
    includeDirs: values.protos, keepCase: true, longs: String, enums: String, defaults: true,
  });
  const { v1 } = grpc.loadPackageDefinition(definition).demo;
  const started = recorder(values.recorder);
  const server = new grpc.Server({ 'grpc.max_receive_message_length': 16 << 20 });
  server.addService(v1.FaultService.service, faults(started));
  server.addService(v1.ImageService.service, images(started));
  new ReflectionService(definition).addToServer(server);
  health(server);
  server.bindAsync(values.listen, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error) {
      console.error(error.message);
      process.exit(1);
    }
  });
}

main();
