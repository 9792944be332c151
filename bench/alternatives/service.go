// What an operator would write as the service behind auth_request: it looks a key up
// in Redis, one hash a key, by its SHA-256, and applies the same rules as the other
// gateways of the comparison.
//
//	/check   a verdict; Redis is asked at each request
//	/kept    the same, with records kept in memory for 60 seconds
//	/record  the record as JSON, for gateway.js
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

type record struct {
	State   string     `json:"state"`
	Expires int64      `json:"expires"`
	Enabled bool       `json:"enabled"`
	Account string     `json:"account"`
	Tenant  string     `json:"tenant"`
	ID      string     `json:"id"`
	Scopes  string     `json:"scopes"`
	Ranges  [][2]int64 `json:"ranges"`

	nets []*net.IPNet
	kept time.Time
}

var (
	pool    *redis.Pool
	unknown = errors.New("no such key")
	scopes  = map[string]string{"GET": "read:tenants", "HEAD": "read:tenants", "POST": "write:tenants"}

	mutex sync.RWMutex
	cache = map[string]*record{}
)

const keep = 60 * time.Second

func read(digest string) (*record, error) {
	c := pool.Get()
	defer c.Close()
	f, err := redis.Strings(c.Do("HMGET", "plain:"+digest, "state", "expires", "enabled",
		"account", "tenant", "id", "scopes", "ips"))
	if err != nil {
		return nil, err
	}
	if f[0] == "" {
		return nil, unknown
	}
	r := &record{State: f[0], Enabled: f[2] == "1", Account: f[3], Tenant: f[4], ID: f[5], Scopes: f[6],
		Ranges: [][2]int64{}, kept: time.Now()}
	r.Expires, _ = strconv.ParseInt(f[1], 10, 64)
	for _, text := range strings.Fields(f[7]) {
		_, n, err := net.ParseCIDR(text)
		if err != nil {
			return nil, err
		}
		r.nets = append(r.nets, n)
		ip := n.IP.To4()
		ones, _ := n.Mask.Size()
		first := int64(ip[0])<<24 | int64(ip[1])<<16 | int64(ip[2])<<8 | int64(ip[3])
		r.Ranges = append(r.Ranges, [2]int64{first, first + 1<<(32-uint(ones)) - 1})
	}
	return r, nil
}

func readKept(digest string) (*record, error) {
	mutex.RLock()
	r := cache[digest]
	mutex.RUnlock()
	if r != nil && time.Since(r.kept) < keep {
		return r, nil
	}
	r, err := read(digest)
	if err == nil {
		mutex.Lock()
		cache[digest] = r
		mutex.Unlock()
	}
	return r, err
}

func (r *record) admits(address string) bool {
	if len(r.nets) == 0 {
		return true
	}
	ip := net.ParseIP(address)
	for _, n := range r.nets {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

func (r *record) has(scope string) bool {
	for _, s := range strings.Fields(r.Scopes) {
		if s == scope {
			return true
		}
	}
	return false
}

func check(look func(string) (*record, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		header := q.Header.Get("Authorization")
		if len(header) < 8 || !strings.EqualFold(header[:7], "bearer ") {
			w.WriteHeader(401)
			return
		}
		sum := sha256.Sum256([]byte(header[7:]))
		r, err := look(hex.EncodeToString(sum[:]))
		if err == unknown {
			w.WriteHeader(401)
			return
		}
		if err != nil {
			w.WriteHeader(500)
			return
		}
		if r.State != "active" || !r.Enabled || r.Expires > 0 && r.Expires <= time.Now().Unix() {
			w.WriteHeader(401)
			return
		}
		scope, ok := scopes[q.Header.Get("X-Original-Method")]
		if !r.admits(q.Header.Get("X-Real-IP")) || !ok || !r.has(scope) {
			w.WriteHeader(403)
			return
		}
		h := w.Header()
		h.Set("X-Tenant-Id", r.Tenant)
		h.Set("X-Account-Id", r.Account)
		h.Set("X-Credential-Id", r.ID)
		h.Set("X-Scopes", r.Scopes)
		w.WriteHeader(204)
	}
}

func serveRecord(w http.ResponseWriter, q *http.Request) {
	r, err := read(q.URL.Query().Get("digest"))
	if err == unknown {
		w.WriteHeader(404)
		return
	}
	if err != nil {
		w.WriteHeader(500)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(r)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "address")
	server := flag.String("redis", "127.0.0.1:6379", "address of Redis")
	flag.Parse()
	pool = &redis.Pool{
		MaxIdle: 128, IdleTimeout: 5 * time.Minute,
		Dial: func() (redis.Conn, error) { return redis.Dial("tcp", *server) },
	}
	http.HandleFunc("/check", check(read))
	http.HandleFunc("/kept", check(readKept))
	http.HandleFunc("/record", serveRecord)
	log.Fatal(http.ListenAndServe(*listen, nil))
}
