/** PNG files whose pixels are exactly what they are meant to be, palette and all. */

const COLOUR_TYPES = { 1: 0, 3: 2, 4: 6 };

/** Bytes as a grey (1), RGB (3) or RGBA (4) PNG. @returns {Promise<Blob>} */
export function encodePng(pixels, width, height, channels) {
  return encode(pixels, width, height, channels, COLOUR_TYPES[channels], []);
}

/** Indices as a PNG with a palette of up to 256 colours. @returns {Promise<Blob>} */
export function encodeIndexedPng(indices, width, height, palette) {
  return encode(indices, width, height, 1, 3, [["PLTE", Uint8Array.from(palette.flat())]]);
}

async function encode(pixels, width, height, channels, colourType, more) {
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header.set([8, colourType, 0, 0, 0], 8);
  const rows = new Uint8Array(height * (width * channels + 1)); // each begins with a 0: no filter
  for (let row = 0; row < height; row++) {
    rows.set(pixels.subarray(row * width * channels, (row + 1) * width * channels), row * (width * channels + 1) + 1);
  }
  const deflated = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(deflated).arrayBuffer());
  const chunks = [["IHDR", header], ...more, ["IDAT", data], ["IEND", new Uint8Array()]];
  return new Blob([Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10), ...chunks.map(([type, body]) => chunk(type, body))], { type: "image/png" });
}

function chunk(type, body) {
  const whole = new Uint8Array(12 + body.length);
  const view = new DataView(whole.buffer);
  view.setUint32(0, body.length);
  whole.set([...type].map((letter) => letter.charCodeAt(0)), 4);
  whole.set(body, 8);
  view.setUint32(8 + body.length, checksum(whole.subarray(4, 8 + body.length)));
  return whole;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function checksum(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}
