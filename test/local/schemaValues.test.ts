/**
 * Values that the echo makes for JSON Schemas: each satisfies its schema and is the same each time.
 */
import { assert, describe, it } from "@effect/vitest"
import { satisfies } from "../../src/local/upstream/schemaCheck.ts"
import { valueFor } from "../../src/local/upstream/schemaValue.ts"

describe("values for schemas", () => {
  const satisfiable: ReadonlyArray<readonly [string, unknown]> = [
    ["anything", true],
    ["no keywords", {}],
    ["a multiple between bounds", { type: "integer", minimum: 3, maximum: 5, multipleOf: 2 }],
    ["an open interval", { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 0.001 }],
    ["a negative maximum", { type: "integer", maximum: -5 }],
    ["a large minimum", { type: "integer", minimum: 1_000_001, multipleOf: 7 }],
    ["a length", { type: "string", minLength: 20, maxLength: 25 }],
    ["a constant object", { const: { a: [1, null] } }],
    ["an enum of a type", { enum: [1, "a", null], type: "string" }],
    ["a type or null", { type: ["null", "string"] }],
    ["unique items", { type: "array", items: { type: "integer" }, minItems: 4, uniqueItems: true }],
    ["unique items of an enum", { type: "array", items: { enum: ["a", "b"] }, minItems: 2, uniqueItems: true }],
    [
      "unique objects",
      {
        type: "array",
        items: { type: "object", properties: { a: { type: "string" } }, required: ["a"] },
        minItems: 3,
        uniqueItems: true
      }
    ],
    ["a tuple", { type: "array", prefixItems: [{ type: "number" }, { type: "string" }], items: false }],
    ["a tuple of draft 7", { type: "array", items: [{ const: 1 }, { const: 2 }], additionalItems: false, minItems: 2 }],
    ["an item that must be there", { type: "array", contains: { const: 3 }, minItems: 2 }],
    ["no items", { type: "array", maxItems: 0 }],
    ["a number of properties", { type: "object", minProperties: 2, additionalProperties: { type: "integer" } }],
    ["a required name that is not described", { type: "object", required: ["a"] }],
    [
      "a discriminated union",
      {
        oneOf: ["a", "b"].map((kind) => ({
          type: "object",
          properties: { kind: { const: kind }, n: { type: "number" } },
          required: ["kind", "n"],
          additionalProperties: false
        }))
      }
    ],
    [
      "parts of an object",
      {
        allOf: [
          { type: "object", properties: { a: { type: "string" } }, required: ["a"] },
          { type: "object", properties: { b: { type: "number", minimum: 2 } }, required: ["b"] }
        ]
      }
    ],
    ["bounds in parts", { allOf: [{ type: "integer", minimum: 3 }, { maximum: 3 }] }],
    ["nothing of a kind", { not: { type: "string" } }],
    [
      "a condition",
      JSON.parse('{"properties":{"a":{"const":1}},"required":["a"],"if":{"required":["a"]},"then":{"maxProperties":1}}')
    ],
    [
      "a list that contains itself",
      {
        $ref: "#/$defs/node",
        $defs: {
          node: {
            type: "object",
            properties: {
              next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] },
              kids: { type: "array", items: { $ref: "#/$defs/node" } }
            },
            required: ["next", "kids"]
          }
        }
      }
    ],
    ["a root that contains itself", { type: "object", properties: { kids: { type: "array", items: { $ref: "#" } } } }],
    [
      "definitions of draft 7",
      { definitions: { a: { type: "boolean" } }, properties: { x: { $ref: "#/definitions/a" } } }
    ],
    [
      "an encoded name in a reference",
      {
        properties: { a: { $ref: "#/$defs/Foo%3CBar%3E" } },
        required: ["a"],
        $defs: { "Foo<Bar>": { type: "integer", minimum: 4 } }
      }
    ],
    [
      "references to an `$id` and an `$anchor`",
      {
        $id: "https://example.com/root.json",
        type: "object",
        properties: {
          a: { $ref: "Name" },
          b: { $ref: "#here" },
          c: { $ref: "https://example.com/root.json#/$defs/n" }
        },
        required: ["a", "b", "c"],
        $defs: { n: { $id: "Name", type: "string", minLength: 3 }, m: { $anchor: "here", type: "boolean" } }
      }
    ],
    ...["date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"].map(
      (format) =>
        [
          `unique texts of the format ${format}`,
          { type: "array", items: { type: "string", format }, minItems: 40, uniqueItems: true }
        ] as const
    ),
    ...["^[a-z]+$", "^[A-Z]{3}-\\d{4}$", "^x_"].map(
      (pattern) =>
        [
          `unique texts of the pattern ${pattern}`,
          { type: "array", items: { type: "string", pattern }, minItems: 4, uniqueItems: true }
        ] as const
    ),
    [
      "unique arrays",
      {
        type: "array",
        items: { type: "array", items: { type: "integer" }, minItems: 2 },
        minItems: 2,
        uniqueItems: true
      }
    ],
    ["a long address", { type: "string", format: "uri", minLength: 60 }],
    [
      "two formats, of which one",
      {
        oneOf: [
          { type: "string", format: "date-time" },
          { type: "string", format: "date" }
        ]
      }
    ],
    [
      "one of two properties",
      {
        type: "object",
        properties: { a: { type: "string" }, b: { type: "string" } },
        oneOf: [{ required: ["a"] }, { required: ["b"] }]
      }
    ],
    [
      "not two properties together",
      { type: "object", properties: { a: { type: "string" }, b: { type: "string" } }, not: { required: ["a", "b"] } }
    ],
    [
      "alternatives twice",
      { allOf: [{ anyOf: [{ type: "string" }, { type: "number" }] }, { anyOf: [{ type: "number" }] }] }
    ],
    [
      "conditions of several kinds",
      JSON.parse(`{"type":"object","properties":{"t":{"enum":["a","b"]}},"required":["t"],"allOf":[
        {"if":{"properties":{"t":{"const":"a"}}},"then":{"properties":{"x":{"type":"integer"}},"required":["x"]}},
        {"if":{"properties":{"t":{"const":"b"}}},"then":{"required":["y"]}}
      ]}`)
    ],
    [
      "properties that need others",
      {
        type: "object",
        properties: { a: { type: "string" } },
        required: ["a"],
        dependentRequired: { a: ["b"] },
        dependentSchemas: { b: { required: ["c"], properties: { c: { type: "integer" } } } }
      }
    ],
    [
      "names of a pattern",
      {
        type: "object",
        propertyNames: { pattern: "^[A-Z]{2}$" },
        minProperties: 2,
        additionalProperties: { type: "null" }
      }
    ],
    [
      "properties of a pattern",
      {
        type: "object",
        patternProperties: { "^x_": { type: "integer" } },
        additionalProperties: false,
        minProperties: 2
      }
    ],
    [
      "words of OpenAPI",
      {
        type: "ARRAY",
        minItems: "2",
        items: { type: "OBJECT", properties: { n: { type: "INTEGER", nullable: true } }, required: ["n"] }
      }
    ]
  ]

  it.each(satisfiable)("satisfies %s, the same each time", (_, schema) => {
    const value = valueFor(schema)
    assert.isDefined(value)
    assert.isTrue(satisfies(schema, schema, value), JSON.stringify(value))
    assert.deepStrictEqual(valueFor(schema), value)
  })

  it.each([
    "^[A-Z]{2}-\\d{4}$",
    "^(foo|bar)+$",
    "^\\+?[1-9]\\d{1,14}$",
    "^#(?:[0-9a-fA-F]{3}){1,2}$",
    "^[^a-zA-Z]+$",
    "^v\\d+(?:\\.\\d+)*$",
    "\\p{Lu}\\w{3,}",
    "^[\\w.-]+@[a-z]+\\.[a-z]{2,}$",
    "^\\u{1F600}$",
    "^$"
  ])("matches the pattern %s", (pattern) => {
    const value = valueFor({ type: "string", pattern })
    assert.match(String(value), new RegExp(pattern, "u"))
  })

  it("writes other texts of a pattern when they must differ", () => {
    const pattern = "^[A-Z]{3}-\\d{4}$"
    const value = valueFor({ type: "array", items: { type: "string", pattern }, minItems: 10, uniqueItems: true })
    assert.isArray(value)
    for (const text of value as ReadonlyArray<unknown>) assert.match(String(text), new RegExp(pattern))
  })

  it("takes the branch of a condition that holds", () => {
    const schema = JSON.parse(
      '{"properties":{"c":{"enum":["us","ca"]},"z":{"minLength":6}},"required":["c"],"if":{"properties":{"c":{"const":"us"}}},"then":{"required":["zip"]},"else":{"required":["post"]}}'
    )
    assert.deepInclude(valueFor(schema), { c: "us", zip: "zip" })
  })

  it("matches a pattern with a minimum length", () => {
    assert.match(
      String(valueFor({ type: "string", pattern: "^[a-z]+$", minLength: 30, maxLength: 40 })),
      /^[a-z]{30,40}$/
    )
  })

  it.each([
    ["nothing", false],
    ["a contradiction", { type: "integer", minimum: 5, maximum: 1 }],
    ["types that exclude each other", { allOf: [{ type: "string" }, { type: "number" }] }],
    ["an empty enum", { enum: [] }],
    ["a required property that cannot be", { type: "object", properties: { a: false }, required: ["a"] }],
    ["an object without an end", { type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }],
    ["a reference to nowhere", { $ref: "#/$defs/none" }],
    ["a reference to elsewhere", { $ref: "https://example.com/schema.json" }],
    ["a look-ahead", { type: "string", pattern: "^(?=a)b" }],
    ["a text that is too long", { type: "string", minLength: 1e9 }],
    ["an array that is too long", { type: "array", items: { type: "string" }, minItems: 1e9 }]
  ])("finds none for %s", (_, schema) => {
    assert.isUndefined(valueFor(schema))
  })

  it("finds a name in a schema with very many values", () => {
    const many = Array.from({ length: 300_000 }, (_, i) => i)
    assert.strictEqual(valueFor({ $ref: "Name", $defs: { many: { enum: many }, n: { $id: "Name", const: 1 } } }), 1)
  })

  it("gives up on definitions that double at each level", () => {
    const level = (n: number) => ({ $ref: `#/$defs/d${n + 1}` })
    const doubled = Array.from({ length: 40 }, (_, n) => [
      `d${n}`,
      { type: "object", properties: { a: level(n), b: level(n) }, required: ["a", "b"] }
    ])
    const $defs = { ...Object.fromEntries(doubled), d40: { type: "string" } }
    assert.isUndefined(valueFor({ $ref: "#/$defs/d0", $defs }))
  })
})
