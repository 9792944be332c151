// What the programs of this folder share. Each reads one JSON document on its
// standard input and writes one line of JSON for each thing it tried:
// {"name": "...", "ok": true} or {"name": "...", "ok": false, "why": "..."}.

import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';

// Node.js 18 has it, but not as a global
globalThis.crypto ??= webcrypto;
globalThis.CryptoKey ??= webcrypto.CryptoKey;

export const input = JSON.parse(readFileSync(0, 'utf8'));

export async function check(name, code) {
    try {
        await code();
        console.log(JSON.stringify({ name, ok: true }));
    } catch (e) {
        const why = [e.code, e.error, e.message, e.cause && JSON.stringify(e.cause)].filter(Boolean).join(': ');
        console.log(JSON.stringify({ name, ok: false, why }));
    }
}

export function equal(got, expected, what) {
    if (got !== expected) {
        throw new Error(`${what}: ${JSON.stringify(got)}, expected ${JSON.stringify(expected)}`);
    }
}

// of a promise that must fail: its error
export async function fails(promise) {
    try {
        await promise;
    } catch (e) {
        return e;
    }
    throw new Error('it succeeded');
}

const algorithms = {
    RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
    ES256: { name: 'ECDSA', namedCurve: 'P-256' },
    EdDSA: { name: 'Ed25519' },
};

// the private key of a client, as WebCrypto has it
export function importKey(alg, jwk) {
    return crypto.subtle.importKey('jwk', jwk, algorithms[alg], false, ['sign']);
}

const decode = (s) => s.replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'").replace(/&amp;/g, '&');

// what a person with a browser does: looks at the consent page and says yes;
// the URL that the browser is sent to
export async function allow(url, user) {
    const page = await fetch(url, { redirect: 'manual', headers: { 'x-user': user } });
    if (page.status !== 200) {
        const location = page.headers.get('location');
        if (location) {
            return new URL(location);
        }
        throw new Error(`the page has status ${page.status}: ${await page.text()}`);
    }
    const html = await page.text();
    const cookie = page.headers.get('set-cookie')?.split(';')[0] ?? '';
    const form = new URLSearchParams();
    for (const [tag] of html.matchAll(/<input\b[^>]*>/g)) {
        const name = /\bname="([^"]*)"/.exec(tag);
        const value = /\bvalue="([^"]*)"/.exec(tag);
        if (name) {
            form.append(decode(name[1]), decode(value?.[1] ?? ''));
        }
    }
    const button = /<button\b[^>]*\bvalue="allow"[^>]*>/.exec(html);
    form.append(/\bname="([^"]*)"/.exec(button[0])[1], 'allow');
    const action = /<form\b[^>]*\baction="([^"]*)"/.exec(html);
    const target = action ? new URL(decode(action[1]), url) : url;
    const answer = await fetch(target, {
        method: 'POST', body: form, redirect: 'manual',
        headers: { 'x-user': user, cookie, origin: new URL(url).origin },
    });
    const location = answer.headers.get('location');
    if (!location) {
        throw new Error(`the answer has status ${answer.status}: ${await answer.text()}`);
    }
    return new URL(location);
}
