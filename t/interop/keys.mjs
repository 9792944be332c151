// Key pairs for private_key_jwt: {"RS256": {"public": JWK, "private": JWK}, ...}

import { webcrypto } from 'node:crypto';

const kinds = {
    RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
    ES256: { name: 'ECDSA', namedCurve: 'P-256' },
    EdDSA: { name: 'Ed25519' },
};

const keys = {};
for (const [alg, kind] of Object.entries(kinds)) {
    const pair = await webcrypto.subtle.generateKey(kind, true, ['sign', 'verify']);
    keys[alg] = {
        public: await webcrypto.subtle.exportKey('jwk', pair.publicKey),
        private: await webcrypto.subtle.exportKey('jwk', pair.privateKey),
    };
}
console.log(JSON.stringify(keys));
