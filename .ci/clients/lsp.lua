-- Drives the example `lsp` with Neovim's own client: nvim --headless -u NONE -l is newer than Debian's,
-- so it is called as nvim --headless -u NONE -c "luafile …".
-- It ends Neovim with status 0 if all was well.

local deadline = 20000
local exit

local function await(what, condition)
  assert(vim.wait(deadline, condition, 10), "not in time: " .. what)
end

local function main()
  vim.api.nvim_buf_set_lines(0, 0, -1, false, { "TODO: say hello", "naïve 🌍 naïve " })
  vim.api.nvim_buf_set_name(0, "/notes.txt")
  local id = vim.lsp.start_client({
    name = "notes",
    cmd = { vim.env.LSP },
    on_exit = function(code, signal) exit = { code, signal } end,
  })
  assert(id, "no client")
  assert(vim.lsp.buf_attach_client(0, id))

  await("diagnostics", function() return #vim.diagnostic.get(0) == 2 end)
  local found = vim.diagnostic.get(0)
  table.sort(found, function(a, b) return a.lnum < b.lnum end)
  assert(found[1].message == "TODO: say hello" and found[1].col == 0, vim.inspect(found))
  -- In bytes here, in units of UTF-16 on the way.
  assert(found[2].lnum == 1 and found[2].col == 18 and found[2].end_col == 19, vim.inspect(found))

  vim.api.nvim_win_set_cursor(0, { 2, 12 })
  local answers = vim.lsp.buf_request_sync(0, "textDocument/hover", vim.lsp.util.make_position_params(), deadline)
  local hover = answers[id].result
  assert(hover.contents.value == "naïve: 2 × in this text, line 2", vim.inspect(answers))

  vim.api.nvim_buf_set_lines(0, 0, -1, false, { "all is well" })
  await("no diagnostics", function() return #vim.diagnostic.get(0) == 0 end)

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
