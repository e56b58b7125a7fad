/**
 * A TFLite file in LiteRT's wasm, as edge_app/runtimes/interpreter.py has one in an Interpreter.
 * @litertjs/core takes no int8 tensors, so the classes of its wasm are called here, without it.
 */

import { RuntimeUnavailable } from "../errors.js";

const ARRAYS = { float32: Float32Array, int8: Int8Array, int16: Int16Array, uint8: Uint8Array, uint16: Uint16Array };
const CODES = { float32: 1, uint8: 3, int16: 7, int8: 9, uint16: 17 }; // LiteRtElementType
const SIGN = 0x80; // pixel - 128 as int8 is the pixel with its first bit turned
const REASON_CHARACTERS = 160;
const COMPILED = { accelerator: "wasm", cpuOptions: { numThreads: 1 }, gpuOptions: {}, webNNOptions: {} };

/**
 * Loads a model file. Throws RuntimeUnavailable.
 * readPart: gives "vendor/litert.wasm"; page: page.json's model, {input: {type}, outputs: [{shape, type, scale, zero_point}]}.
 * @returns {Promise<LiteRt>}
 */
export async function openRuntime(readPart, page, modelBytes) {
  const errors = [];
  const hear = text => {
    if (text.startsWith("ERROR")) errors.push(text);
  };
  const wasmBinary = await readPart("vendor/litert.wasm");
  try {
    const wasm = await globalThis.ModuleFactory({ wasmBinary, print: hear, printErr: hear });
    return new LiteRt(wasm, page, modelBytes);
  } catch (error) {
    if (error instanceof RuntimeUnavailable) throw error;
    throw new RuntimeUnavailable(
      "E-RUNTIME-LOAD",
      `LiteRT's wasm refuses the model (${reasonOf([...errors, error])}): choose another model file`,
    );
  }
}

/** A model in the wasm: its memory is in use as long as the worker lives, so nothing is given back but each run's outputs. */
export class LiteRt {
  /** wasm: what ModuleFactory gave; page, modelBytes: as for openRuntime. */
  constructor(wasm, page, modelBytes) {
    const environment = wasm.LiteRtEnvironment.create(null);
    const at = wasm._malloc(modelBytes.length); // read from there at each run
    wasm.HEAPU8.set(modelBytes, at);
    const model = wasm.loadModel(environment, at, modelBytes.length);
    const signature = model.getSignature(0);
    const inputs = signature.inputNames().size();
    if (inputs !== 1) throw unlike(`takes ${inputs} inputs, not one image`);
    const given = model.getInputTensorType(0, 0);
    if (given.elementType().value !== CODES[page.input.type]) throw unlike(`does not take ${page.input.type}`);
    this.wasm = wasm;
    this.type = page.input.type;
    this.compiled = wasm.compileModel(environment, model, { environment: { liteRtEnvironment: environment }, ...COMPILED });
    this.input = wasm.LiteRtTensorBuffer.createManaged(
      environment, wasm.LiteRtTensorBufferType.HOST_MEMORY, given, given.bytes(),
    );
    this.bytes = given.bytes();
    const found = [];
    for (let i = 0; i < signature.outputNames().size(); i++) found.push(keyOf(model.getOutputTensorType(0, i)));
    // By their shapes, not their order: logits are [1, K], the map [1, h, w, K]. The wasm has its own order.
    const logits = page.outputs.find(output => output.shape.length === 2) ?? page.outputs[0];
    const map = page.outputs.find(output => output.shape.length === 4);
    this.logits = { ...logits, index: indexOf(found, logits) };
    this.map = map ? { ...map, index: indexOf(found, map) } : null;
  }

  /**
   * One inference. Throws RuntimeUnavailable.
   * tensor: uint8 [H*W*C]; logits: Float32Array [K], dequantized; map: Float32Array [h*w*K], null if the file has none.
   */
  run(tensor) {
    try {
      this.give(tensor);
      const outputs = this.compiled.run(0, [this.input]);
      const values = [this.logits, this.map].map(output => output && this.values(outputs[output.index], output));
      for (const output of outputs) output.delete();
      return { logits: values[0], map: values[1] };
    } catch (error) {
      if (error instanceof RuntimeUnavailable) throw error;
      throw unlike(`took one image and fails over another (${reasonOf([error])})`);
    }
  }

  /** Writes an image into the model's input, as it takes pixels. */
  give(tensor) {
    const array = ARRAYS[this.type];
    if (tensor.length * array.BYTES_PER_ELEMENT !== this.bytes) throw unlike(`does not take ${tensor.length} pixels`);
    const at = this.input.lock(this.wasm.LiteRtTensorBufferLockMode.WRITE);
    const pixels = new array(this.wasm.HEAPU8.buffer, at, tensor.length);
    pixels.set(tensor);
    if (this.type === "int8") for (let i = 0; i < pixels.length; i++) pixels[i] ^= SIGN;
    this.input.unlock();
  }

  /** The numbers that an output's stored values stand for: (q - zero point) * scale, each step in float32 as in Python. */
  values(buffer, output) {
    const at = buffer.lock(this.wasm.LiteRtTensorBufferLockMode.READ);
    const count = output.shape.reduce((product, side) => product * side, 1);
    const stored = new ARRAYS[output.type](this.wasm.HEAPU8.buffer, at, count);
    const values = Float32Array.from(stored);
    buffer.unlock();
    if (output.type === "float32") return values;
    const [scale, zeroPoint] = [Math.fround(output.scale), Math.fround(output.zero_point)];
    return values.map(value => Math.fround(value - zeroPoint) * scale); // a Float32Array rounds what is stored in it
  }
}

/** An output's type and shape, as text. */
function keyOf(type) {
  const sides = type.layout().dimensions();
  const shape = Array.from({ length: sides.size() }, (_, i) => sides.get(i));
  return `${type.elementType().value} [${shape}]`;
}

/** Where the wasm gives an output of page.json. */
function indexOf(found, output) {
  const key = `${CODES[output.type]} [${output.shape}]`;
  const places = found.filter(other => other === key).length;
  if (places !== 1) throw unlike(`has ${places} outputs of ${output.type} [${output.shape}]`);
  return found.indexOf(key);
}

/** A model that is not what page.json says. */
function unlike(met) {
  return new RuntimeUnavailable("E-RUNTIME-MODEL", `the model ${met}: convert it again, or choose another --file`);
}

/** What the wasm printed and threw, on one line. */
function reasonOf(texts) {
  return texts.map(text => text?.message ?? String(text)).join(" ").replace(/\s+/g, " ").slice(0, REASON_CHARACTERS);
}
