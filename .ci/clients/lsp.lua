-- Drives the example `lsp` with Neovim's own client: nvim --headless -u NONE -l is newer than Debian's,
-- so it is called as nvim --headless -u NONE -c "luafile …".
-- It ends Neovim with status 0 if all was well.

local deadline = 20000
local exit

local function await(what, condition)
  assert(vim.wait(deadline, condition, 10), "not in time: " .. what)
end

local function run(client, command, handler)
  local arguments = { vim.uri_from_bufnr(0) }
  local sent, id = client.request("workspace/executeCommand", { command = command, arguments = arguments }, handler,
    vim.api.nvim_get_current_buf())
  assert(sent, "the request is not sent")
  return id
end

local function main()
  vim.api.nvim_buf_set_lines(0, 0, -1, false, { "say hello", "naïve 🌍 naïve " })
  vim.api.nvim_buf_set_name(0, "/notes.txt")
  local id = vim.lsp.start_client({
    name = "notes",
    cmd = { vim.env.LSP },
    on_exit = function(code, signal) exit = { code, signal } end,
  })
  assert(id, "no client")
  assert(vim.lsp.buf_attach_client(0, id))
  local client = vim.lsp.get_client_by_id(id)

  await("diagnostics", function() return #vim.diagnostic.get(0) == 1 end)
  local found = vim.diagnostic.get(0)[1]
  -- In bytes here, in units of UTF-16 on the way.
  assert(found.lnum == 1 and found.col == 18 and found.end_col == 19, vim.inspect(found))

  -- The server asks Neovim to edit the text, and waits for its answer.
  local tidied
  run(client, "notes.tidy", function(error, result) tidied = { error, result } end)
  await("an edit", function() return tidied ~= nil end)
  assert(tidied[1] == nil and tidied[2] == true, vim.inspect(tidied))
  assert(vim.api.nvim_buf_get_lines(0, 1, 2, false)[1] == "naïve 🌍 naïve", "the text is not edited")
  await("no diagnostics", function() return #vim.diagnostic.get(0) == 0 end)

  -- A long request ends when it is cancelled.
  local lines = {}
  for number = 1, 100000 do lines[number] = "a line" end
  vim.api.nvim_buf_set_lines(0, 0, -1, false, lines)
  local ended
  local long = run(client, "notes.alike", function(error, result) ended = { error, result } end)
  local short
  run(client, "notes.unknown", function(error) short = error end)
  await("a refusal", function() return short ~= nil end)
  assert(short.code == -32602 and ended == nil, vim.inspect({ short, ended }))
  assert(client.cancel_request(long), "the cancellation is not sent")
  -- Neovim takes the answer to a cancelled request for itself. A result would reach the handler.
  await("the answer to the cancelled request", function() return client.requests[long] == nil end)
  assert(ended == nil, vim.inspect(ended))

  -- shutdown, then exit.
  vim.lsp.stop_client(id)
  await("the end of the server", function() return exit ~= nil end)
  assert(exit[1] == 0 and exit[2] == 0, vim.inspect(exit))
end

local ok, message = xpcall(main, debug.traceback)
if ok then
  print("  a session of Neovim\n")
  vim.cmd("qall!")
else
  print(message .. "\n")
  vim.cmd("cquit!")
end
