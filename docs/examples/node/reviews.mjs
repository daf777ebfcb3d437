// A shop's service that keeps reviews, and has Penstock judge and store their answers.
//
// POST /reviews       one review, in one transaction with its job
// GET  /status/BATCH  what became of it
import http from "node:http";
import pg from "pg";

const GATEWAY = process.env.PENSTOCK_URL ?? "http://localhost:8080";
const KEY = process.env.PENSTOCK_API_KEY;
const FORM_ID = "guest-reviews";
const FORM = {
  title: "How was it?",
  questions: [
    { id: "name", text: "Your name", type: "text", required: true },
    { id: "stars", text: "Stars", type: "rating", max: 5 },
  ],
};
const ADD = "INSERT INTO shop.reviews (id, name, stars) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
const ENQUEUE = "SELECT penstock.enqueue($1, $2::jsonb, idempotency_key => $3)";
const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;
const BODY_LIMIT = 1_000_000;

const pool = new pg.Pool({ connectionString: process.env.SHOP_DATABASE_URL, max: 8 });
// An idle connection that the server ended is replaced by the pool; without a listener it would end the process.
pool.on("error", (error) => console.error(`an idle connection ended: ${error.message}`));

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Keep a review. It and its job are committed together; sent again, both are there already.
async function addReview(review) {
  const { id, name, stars } = review ?? {};
  if (!UUID.test(id) || typeof name !== "string" || !Number.isInteger(stars)) {
    throw new Refused(422, "that is no review");
  }
  const batchId = `review-${id}`;
  const payload = { form_id: FORM_ID, batch_id: batchId, submissions: [{ answers: { name, stars } }] };
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await client.query(ADD, [id, name, stars]);
    await client.query(ENQUEUE, ["submission_batch.write", JSON.stringify(payload), batchId]);
    await client.query("COMMIT");
  } catch (error) {
    // Where the connection is gone the server rolls back by itself.
    await client.query("ROLLBACK").catch(() => undefined);
    throw error;
  } finally {
    client.release();
  }
  return { id, batch_id: batchId };
}

async function askPenstock(method, path, body) {
  const headers = { "Content-Type": "application/json", ...(KEY && { Authorization: `Bearer ${KEY}` }) };
  const answer = await fetch(`${GATEWAY}${path}`, { method, headers, body: body && JSON.stringify(body) });
  const told = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, told.detail);
  return told;
}

async function status(batchId) {
  const { state, stored, rejected } = await askPenstock("GET", `/v1/batches/${encodeURIComponent(batchId)}`);
  return { state, stored, rejected };
}

async function readJson(request) {
  const parts = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > BODY_LIMIT) throw new Refused(413, "that is too long for a review");
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString());
  } catch {
    throw new Refused(422, "that is no JSON");
  }
}

// What PostgreSQL and the network tell, as HTTP has it.
function statusOf(error) {
  if (error instanceof Refused) return error.status;
  if (error.code === "23505") return 409; // penstock.enqueue knows the key with another payload
  if (error.code?.startsWith("22") || error.code?.startsWith("23")) return 422;
  return 503;
}

async function answer(request) {
  const [, kind, name] = request.url.split("/");
  if (request.method === "POST" && kind === "reviews") return [201, await addReview(await readJson(request))];
  if (request.method === "GET" && kind === "status" && name) return [200, await status(name)];
  throw new Refused(404, "there is nothing here");
}

const server = http.createServer(async (request, response) => {
  let told;
  try {
    told = await answer(request);
  } catch (error) {
    told = [statusOf(error), { error: error.message }];
  }
  const headers = { "Content-Type": "application/json", ...(told[0] === 503 && { "Retry-After": "5" }) };
  response.writeHead(told[0], headers).end(`${JSON.stringify(told[1])}\n`);
});

await askPenstock("PUT", `/v1/forms/${FORM_ID}`, FORM);
server.listen(Number(process.env.PORT ?? 8091), "127.0.0.1", () => {
  console.log(`the shop listens on http://127.0.0.1:${server.address().port}`);
});
