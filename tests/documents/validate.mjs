// Reads {description, answers: [{name, schema, value, open}]} from standard input, and says on standard output what is wrong: a
// description that is no OpenAPI, a value that is not of its schema, or one that has a member which its schema doesn't know (unless
// it is open).
import { text } from "node:stream/consumers";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const { description, answers } = JSON.parse(await text(process.stdin));
const complain = (name, errors) => console.log(`${name}: ${JSON.stringify(errors)}`);

const verdict = await new Validator().validate(structuredClone(description));
if (!verdict.valid) complain("the description", verdict.errors);

const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats.default(ajv);
for (const format of ["int32", "int64"]) ajv.addFormat(format, { type: "number", validate: Number.isInteger });
ajv.addSchema({ ...description, $id: "openapi.json" });
for (const { name, schema, value, open } of answers) {
  const validate = ajv.compile({ $ref: `openapi.json#${encodeURI(schema)}`, ...(open ? {} : { unevaluatedProperties: false }) });
  if (!validate(value)) complain(name, { value: JSON.stringify(value).slice(0, 500), errors: validate.errors });
}
